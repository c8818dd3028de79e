"""Pages: what follows is told exactly, and a token belongs to one list."""

from __future__ import annotations

import string
from base64 import urlsafe_b64encode
from uuid import UUID, uuid4

import pytest

from contracts.errors import InvalidRequest
from mesh.pages import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE, page_of
from solo60.mesh.v1.outbox_pb2 import OUTBOX_STATUS_DEAD, ListMessagesRequest
from solo60.session.v1.session_pb2 import SESSION_STATUS_CANCELLED, ListGuestsRequest, ListUserSessionsRequest

# Fixed, because they are in the names of tests, which are the same in every process of a run.
SOME_ID, USER_ID = UUID("0198c1a2-0000-7000-8000-000000000001"), "0198c1a2-0000-7000-8000-000000000002"


def token_after(cursor: object, request: ListUserSessionsRequest | None = None) -> str:
    """Return the token of the page after an item of a user's list."""
    asked = request or ListUserSessionsRequest(user_id=USER_ID)
    page = page_of(asked)
    _, token = page.cut(list(range(page.limit)), lambda _: cursor)
    return token


def refused_field(request: ListUserSessionsRequest | ListGuestsRequest | ListMessagesRequest) -> str:
    """Return the field for which a request is refused."""
    with pytest.raises(InvalidRequest) as caught:
        page_of(request)
    [violation] = caught.value.violations
    return violation.field


@pytest.mark.parametrize(
    ("page_size", "size"),
    [(0, DEFAULT_PAGE_SIZE), (1, 1), (100, 100), (101, MAX_PAGE_SIZE), (2**31 - 1, MAX_PAGE_SIZE)],
)
def test_a_size_above_the_limit_is_lowered_to_it(page_size: int, size: int) -> None:
    """AIP-158: no size is refused for being large, and 0 leaves it to the service."""
    assert page_of(ListMessagesRequest(page_size=page_size)).size == size


@pytest.mark.requirement("C1")
@pytest.mark.parametrize(
    ("found", "items", "has_token"),
    [([], [], False), ([1], [1], False), ([1, 2], [1, 2], False), ([1, 2, 3], [1, 2], True)],
)
def test_a_token_says_that_more_follows(found: list[int], items: list[int], *, has_token: bool) -> None:
    """A page that is just full is followed by nothing."""
    page, token = page_of(ListMessagesRequest(page_size=2)).cut(found, str)

    assert (page, bool(token)) == (items, has_token)


def test_a_token_leads_back_to_its_item() -> None:
    """AIP-158: the next page begins where the last one ended, also where its size is another."""
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
    """AIP-158: with other filters, or in another method, it is refused by name."""
    other.page_token = token_after(SOME_ID)

    assert refused_field(other) == "page_token"


@pytest.mark.requirement("C3")
@pytest.mark.parametrize(
    "token",
    ["1", "x" * 511, "0" * 32, SOME_ID.hex, str(SOME_ID), "ä", "====", "A", urlsafe_b64encode(b"\xff").decode()],
)
def test_what_no_answer_held_is_no_token(token: str) -> None:
    """Tokens are opaque, so nobody is to come to rely on making one."""
    assert refused_field(ListUserSessionsRequest(user_id=USER_ID, page_token=token)) == "page_token"


@pytest.mark.requirement("C3")
def test_a_changed_token_is_refused() -> None:
    """Whichever letter of it is another, and where one is missing or one too many."""
    token = token_after(SOME_ID)
    for at in range(len(token)):
        letter = next(letter for letter in string.ascii_letters if letter != token[at])
        changed = f"{token[:at]}{letter}{token[at + 1 :]}"
        assert refused_field(ListUserSessionsRequest(user_id=USER_ID, page_token=changed)) == "page_token"
    for changed in (token[:-1], token + "=", token + "A", token + "\n"):
        assert refused_field(ListUserSessionsRequest(user_id=USER_ID, page_token=changed)) == "page_token"


@pytest.mark.requirement("C3")
def test_a_cursor_that_cannot_be_read_is_refused() -> None:
    """A token of a version that wrote its cursors in another way is one of none."""
    page = page_of(ListUserSessionsRequest(user_id=USER_ID, page_token=token_after("no id")))

    with pytest.raises(InvalidRequest):
        page.after(UUID)
