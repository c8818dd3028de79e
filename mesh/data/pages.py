"""Pagination of list methods with sealed page tokens (AIP-158)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar, cast, overload

from contracts.errors import InvalidRequest, Violation
from mesh import base64url

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from google.protobuf.message import Message

Item = TypeVar("Item")
First = TypeVar("First")
Second = TypeVar("Second")

# Page size of requests that do not set one.
DEFAULT_PAGE_SIZE = 50
# Larger page sizes are reduced to this one: the contracts allow at most 100 items in a response.
MAX_PAGE_SIZE = 100
_PAGE_FIELDS = ("page_size", "page_token")
_SEAL_BYTES = 16
# Between the keys of a cursor. PostgreSQL stores no text with this character.
_SEPARATOR = "\0"


class PagedRequest(Protocol):
    """Request message with page fields; all of its other fields are filters."""

    page_size: int
    page_token: str


@dataclass(frozen=True, slots=True)
class Page:
    """Requested page: at most `size` items after the item named by `cursor`.

    A cursor contains one or two keys of the last item on the previous page. A token is a cursor, sealed with a digest
    of the request. A token from a request with other filters is rejected, and so is any text that the service did not
    issue. The seal is not secret: a token does not authenticate its caller.
    """

    size: int
    cursor: str
    _filters_sha256: bytes

    @property
    def limit(self) -> int:
        """Number of items to query: one more than the page holds, which shows whether another page follows."""
        return self.size + 1

    @overload
    def after(self, read: Callable[[str], First], /) -> First | None: ...

    @overload
    def after(
        self, read: Callable[[str], First], read_second: Callable[[str], Second], /
    ) -> tuple[First, Second] | None: ...

    def after(self, *readers: Callable[[str], object]) -> object | None:
        """Return the keys of the cursor, each converted by its reader; None on the first page.

        Raises InvalidRequest if a reader raises ValueError.
        """
        if not self.cursor:
            return None
        try:
            keys = tuple(read(text) for read, text in zip(readers, self.cursor.split(_SEPARATOR), strict=True))
        except ValueError:
            raise _unknown_token() from None
        return keys if len(keys) > 1 else keys[0]

    def cut(self, found: Sequence[Item], *keys: Callable[[Item], object]) -> tuple[Sequence[Item], str]:
        """Return the page out of up to `limit` items, and the next page's token or "" if this is the last page.

        `keys` return the keys of an item, in the order of the readers of `after`.
        """
        items = found[: self.size]
        if len(found) <= self.size:
            return items, ""
        return items, self._token_of(_SEPARATOR.join(str(key(items[-1])) for key in keys))

    def _token_of(self, cursor: str) -> str:
        return base64url.encode(_seal(self._filters_sha256, cursor.encode()) + cursor.encode())


def page_of(request: PagedRequest) -> Page:
    """Return the page for `request`; raise InvalidRequest if its token belongs to another request."""
    size = min(request.page_size, MAX_PAGE_SIZE) or DEFAULT_PAGE_SIZE
    filters_sha256 = _digest_of_filters(cast("Message", request))
    return Page(size, _cursor_of(request.page_token, filters_sha256), filters_sha256)


def _cursor_of(token: str, filters_sha256: bytes) -> str:
    try:
        sealed = base64url.decode_exact(token)
    except ValueError:
        raise _unknown_token() from None
    seal, cursor = sealed[:_SEAL_BYTES], sealed[_SEAL_BYTES:]
    if token and seal != _seal(filters_sha256, cursor):
        raise _unknown_token()
    return cursor.decode(errors="replace")


def _digest_of_filters(request: Message) -> bytes:
    filters = type(request)()
    filters.CopyFrom(request)
    for field in _PAGE_FIELDS:
        filters.ClearField(field)
    return hashlib.sha256(
        request.DESCRIPTOR.full_name.encode() + filters.SerializeToString(deterministic=True)
    ).digest()


def _seal(filters_sha256: bytes, cursor: bytes) -> bytes:
    return hashlib.sha256(filters_sha256 + cursor).digest()[:_SEAL_BYTES]


def _unknown_token() -> InvalidRequest:
    violation = Violation("page_token", "must be the next_page_token of an earlier response to the same request")
    return InvalidRequest("The page token does not belong to this request.", violations=[violation])
