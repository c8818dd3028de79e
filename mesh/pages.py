"""Pages: a long list goes out in parts, each with the token of the one that follows (AIP-158)."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

from contracts.errors import InvalidRequest, Violation

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Item = TypeVar("Item")

# Where a request leaves the size to the service.
DEFAULT_PAGE_SIZE = 50


def cut_page(found: Sequence[Item], page_size: int, token_after: Callable[[Item], str]) -> tuple[Sequence[Item], str]:
    """Return a page of `found` and the token of the next one, empty where nothing follows.

    `found` is what a search returns that was asked for one more than `page_size`: only then is it known what follows.
    """
    page = found[:page_size]
    return page, token_after(page[-1]) if len(found) > page_size else ""


def id_of_page_token(page_token: str) -> UUID:
    """Return the id that is the token in hexadecimal; raise InvalidRequest when the token has another form."""
    try:
        found = UUID(hex=page_token)
    except ValueError:
        raise unknown_page_token() from None
    # A UUID can be written in many ways, and the token in one.
    if found.hex != page_token:
        raise unknown_page_token()
    return found


def unknown_page_token() -> InvalidRequest:
    """Return the refusal of a token that no page was ever followed by."""
    violation = Violation("page_token", "must be the next_page_token of an earlier answer")
    return InvalidRequest("The page token is not one of ours.", violations=[violation])
