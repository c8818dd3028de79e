"""Pages: what follows is told exactly, and a token that is not ours is refused."""

from __future__ import annotations

from uuid import UUID

import pytest

from contracts.errors import InvalidRequest
from mesh.pages import cut_page, id_of_page_token

SOME_ID = UUID("0198c1a2-0000-7000-8000-00000000abcd")


@pytest.mark.parametrize(
    ("found", "page", "next_page_token"),
    [([], [], ""), ([1], [1], ""), ([1, 2], [1, 2], ""), ([1, 2, 3], [1, 2], "after 2")],
)
def test_a_token_says_that_more_follows(found: list[int], page: list[int], next_page_token: str) -> None:
    """C1: a page that is just full is followed by nothing."""
    assert cut_page(found, 2, "after {}".format) == (page, next_page_token)


def test_a_token_leads_back_to_its_id() -> None:
    """C1: the next page begins where the last one ended."""
    assert id_of_page_token(SOME_ID.hex) == SOME_ID


@pytest.mark.parametrize(
    "token", ["1", str(SOME_ID), SOME_ID.hex.upper(), f"{{{SOME_ID.hex}}}", f"urn:uuid:{SOME_ID.hex}", "ä" * 32]
)
def test_an_id_written_in_another_way_is_no_token(token: str) -> None:
    """C3: tokens are opaque, so nobody is to come to rely on making one."""
    with pytest.raises(InvalidRequest) as caught:
        id_of_page_token(token)

    assert [violation.field for violation in caught.value.violations] == ["page_token"]
