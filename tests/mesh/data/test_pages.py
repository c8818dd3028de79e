"""Page sizes and page tokens. A token marks an item and belongs to one list."""

from __future__ import annotations

import string
from base64 import urlsafe_b64encode
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from contracts.errors import InvalidRequest
from mesh.data.pages import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE, page_of
from solo60.mesh.v1.outbox_pb2 import OUTBOX_STATUS_DEAD, ListMessagesRequest
from solo60.session.v1.session_pb2 import SESSION_STATUS_CANCELLED, ListGuestsRequest, ListUserSessionsRequest

# Fixed, because they are part of test ids, which must be the same in every process of a run.
SOME_ID, USER_ID = UUID("0198c1a2-0000-7000-8000-000000000001"), "0198c1a2-0000-7000-8000-000000000002"


def token_after(*keys: object) -> str:
    """Return the page token after the item with these keys in a user's list."""
    page = page_of(ListUserSessionsRequest(user_id=USER_ID))
    _, token = page.cut([keys] * page.limit, *(lambda item, at=at: item[at] for at in range(len(keys))))
    return token


def rejected_field(request: ListUserSessionsRequest | ListGuestsRequest | ListMessagesRequest) -> str:
    """Return the field named by the rejection of a request."""
    with pytest.raises(InvalidRequest) as caught:
        page_of(request)
    [violation] = caught.value.violations
    return violation.field


@pytest.mark.parametrize(
    ("page_size", "size"),
    [(0, DEFAULT_PAGE_SIZE), (1, 1), (100, 100), (101, MAX_PAGE_SIZE), (2**31 - 1, MAX_PAGE_SIZE)],
)
def test_a_size_above_the_limit_is_lowered_to_it(page_size: int, size: int) -> None:
    """A page size above the limit is lowered to the limit, and 0 selects the default (AIP-158)."""
    assert page_of(ListMessagesRequest(page_size=page_size)).size == size


@pytest.mark.requirement("C1")
@pytest.mark.parametrize(
    ("found", "items", "has_token"),
    [([], [], False), ([1], [1], False), ([1, 2], [1, 2], False), ([1, 2, 3], [1, 2], True)],
)
def test_a_token_means_that_more_follows(found: list[int], items: list[int], *, has_token: bool) -> None:
    """A page has a token only if more items follow it."""
    page, token = page_of(ListMessagesRequest(page_size=2)).cut(found, str)

    assert (page, bool(token)) == (items, has_token)


def test_a_token_continues_after_its_item() -> None:
    """A token continues after its item, also with another page size (AIP-158)."""
    token = token_after(SOME_ID)

    for page_size in (0, 1, 7, 1000):
        request = ListUserSessionsRequest(user_id=USER_ID, page_size=page_size, page_token=token)
        assert page_of(request).after(UUID) == SOME_ID
    assert page_of(ListUserSessionsRequest(user_id=USER_ID)).after(UUID) is None


@pytest.mark.parametrize(
    "other",
    [
        ListUserSessionsRequest(user_id=str(uuid4())),
        ListUserSessionsRequest(user_id=USER_ID, status=SESSION_STATUS_CANCELLED),
        ListGuestsRequest(session_id=USER_ID),
        ListMessagesRequest(),
        ListMessagesRequest(status=OUTBOX_STATUS_DEAD),
    ],
    ids=lambda other: f"{type(other).__name__}-{len(other.SerializeToString())}",
)
def test_a_token_belongs_to_its_request(
    other: ListUserSessionsRequest | ListGuestsRequest | ListMessagesRequest,
) -> None:
    """A token is rejected with other filters or for another method (AIP-158)."""
    other.page_token = token_after(SOME_ID)

    assert rejected_field(other) == "page_token"


@pytest.mark.requirement("C3")
@pytest.mark.parametrize(
    "token",
    ["1", "x" * 511, "0" * 32, SOME_ID.hex, str(SOME_ID), "ä", "====", "A", urlsafe_b64encode(b"\xff").decode()],
)
def test_a_made_up_token_is_rejected(token: str) -> None:
    """A token that no answer contained is rejected."""
    assert rejected_field(ListUserSessionsRequest(user_id=USER_ID, page_token=token)) == "page_token"


@pytest.mark.requirement("C3")
def test_a_changed_token_is_rejected() -> None:
    """A token with a changed, missing or additional character is rejected."""
    token = token_after(SOME_ID)
    for at in range(len(token)):
        letter = next(letter for letter in string.ascii_letters if letter != token[at])
        changed = f"{token[:at]}{letter}{token[at + 1 :]}"
        assert rejected_field(ListUserSessionsRequest(user_id=USER_ID, page_token=changed)) == "page_token"
    for changed in (token[:-1], token + "=", token + "A", token + "\n"):
        assert rejected_field(ListUserSessionsRequest(user_id=USER_ID, page_token=changed)) == "page_token"


def test_a_cursor_of_two_keys_is_read_without_loss() -> None:
    """A list ordered by time and id continues after both, to the microsecond of PostgreSQL's clock."""
    time = datetime(2026, 3, 3, 12, 0, 0, 1, tzinfo=UTC)
    request = ListUserSessionsRequest(user_id=USER_ID, page_token=token_after(time, SOME_ID))

    assert page_of(request).after(datetime.fromisoformat, UUID) == (time, SOME_ID)


@pytest.mark.requirement("C3")
@pytest.mark.parametrize("keys", [("no id",), (SOME_ID, SOME_ID)])
def test_an_unreadable_cursor_is_rejected(keys: tuple[object, ...]) -> None:
    """A token with an unreadable cursor or another number of keys, such as one from another version, is rejected."""
    page = page_of(ListUserSessionsRequest(user_id=USER_ID, page_token=token_after(*keys)))

    with pytest.raises(InvalidRequest):
        page.after(UUID)


@pytest.mark.requirement("C3")
@pytest.mark.parametrize("keys", [("x",), ("", ""), ("2026-03-03", "x"), ("x", SOME_ID), ("2026-03-03",)])
def test_an_unreadable_cursor_of_two_keys_is_rejected(keys: tuple[object, ...]) -> None:
    """A token is rejected if either of two keys is missing or unreadable."""
    page = page_of(ListUserSessionsRequest(user_id=USER_ID, page_token=token_after(*keys)))

    with pytest.raises(InvalidRequest):
        page.after(datetime.fromisoformat, UUID)
