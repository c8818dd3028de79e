"""Call objects of calls that an interceptor rejected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Generator

    from interceptors.chain.untyped import AnyAttribute, AnyMessage, Argument


class RejectedCall:
    """Call that was never sent: awaiting any part of it raises the error."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __await__(self) -> Generator[Any, None, Any]:
        return self._raise().__await__()

    def __aiter__(self) -> RejectedCall:
        return self

    async def __anext__(self) -> AnyMessage:
        raise self._error

    def add_done_callback(self, callback: Argument) -> None:
        callback(self)

    def cancel(self) -> bool:
        return False

    def cancelled(self) -> bool:
        return False

    def done(self) -> bool:
        return True

    def time_remaining(self) -> None:
        return None

    def __getattr__(self, _name: str) -> AnyAttribute:
        return self._raise

    async def _raise(self, *_arguments: object) -> NoReturn:
        raise self._error
