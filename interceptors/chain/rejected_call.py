"""Call objects of calls that an interceptor rejected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Generator


class RefusedCall:
    """Call that was never sent: awaiting any part of it raises the error."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __await__(self) -> Generator[Any, None, Any]:
        return self._raise().__await__()

    def __aiter__(self) -> RefusedCall:
        return self

    async def __anext__(self) -> Any:  # noqa: ANN401 - a message of any type
        raise self._error

    def add_done_callback(self, callback: Any) -> None:  # noqa: ANN401 - as grpc.aio has it
        callback(self)

    def cancel(self) -> bool:
        return False

    def cancelled(self) -> bool:
        return False

    def done(self) -> bool:
        return True

    def time_remaining(self) -> None:
        return None

    def __getattr__(self, _name: str) -> Any:  # noqa: ANN401 - one of the coroutines that a call has
        return self._raise

    async def _raise(self, *_arguments: object) -> Any:  # noqa: ANN401 - never returns
        raise self._error
