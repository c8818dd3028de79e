"""Client streams: how a streaming call ends, for everybody who waits for that, in the errors of the contracts."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc
import grpc.aio

from interceptors.errors import error_of_status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Generator

    from contracts.service_error import ServiceError
    from interceptors.client import ClientCall

POLL_INTERVAL_S = 0.001
LONGEST_WAIT_FOR_STATUS_S = 1.0

_waiting: set[asyncio.Task[None]] = set()


class Outcome:
    """How a streaming call ends: every interceptor is told once, and so is whoever waits for its error."""

    def __init__(self, call: ClientCall, rpc: Any) -> None:  # noqa: ANN401 - a call of any streaming shape
        self._call = call
        self._known = asyncio.Event()
        self._error: ServiceError | None = None
        rpc.add_done_callback(self._on_status)

    async def error(self) -> ServiceError | None:
        """Wait for the end of the call and return its error."""
        await self._known.wait()
        return self._error

    def _on_status(self, rpc: Any) -> None:  # noqa: ANN401 - a call of any streaming shape
        status = _status_of(rpc)
        if status.is_failed_write():
            task = asyncio.get_running_loop().create_task(self._await_status(rpc))
            _waiting.add(task)
            task.add_done_callback(_waiting.discard)
        else:
            self._finish(status)

    async def _await_status(self, rpc: Any) -> None:  # noqa: ANN401 - a call of any streaming shape
        # The server's own status replaces that of the failed write, and nobody tells.
        for _ in range(int(LONGEST_WAIT_FOR_STATUS_S / POLL_INTERVAL_S)):
            await asyncio.sleep(POLL_INTERVAL_S)
            if not _status_of(rpc).is_failed_write():
                break
        self._finish(_status_of(rpc))

    def _finish(self, status: _Status) -> None:
        if status.code is not grpc.StatusCode.OK:
            callee = self._call.method.full_name
            self._error = error_of_status(status.code, status.message, status.trailing, callee)
        self._known.set()
        self._call.finish(self._error)


class _Status(NamedTuple):
    code: grpc.StatusCode
    message: str | None
    trailing: grpc.aio.Metadata | None

    def is_failed_write(self) -> bool:
        """Tell whether grpc.aio made this status up, because the server ended a call that was being written to."""
        return self.code is grpc.StatusCode.INTERNAL and self.message == "Internal error from Core"


def _status_of(rpc: Any) -> _Status:  # noqa: ANN401 - a call of any streaming shape
    return _Status(at_once(rpc.code()), at_once(rpc.details()), at_once(rpc.trailing_metadata()))


def at_once(asking: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401 - a part of a status
    """Return what a call that has ended says of its end."""
    # Only a coroutine may ask for a call's status, and a callback cannot wait; but once it is known, none waits.
    try:
        asking.send(None)
    except StopIteration as answer:
        return answer.value
    raise AssertionError("the status of a finished call is known")


async def with_typed_errors(rpc: Any, outcome: Outcome) -> AsyncIterator[Any]:  # noqa: ANN401 - messages of any type
    """Yield the messages of a call, and raise its typed error."""
    try:
        async for message in rpc:
            yield message
    except grpc.aio.AioRpcError as rpc_error:
        error = await outcome.error()
        if error is not None:
            raise error from rpc_error


class TypedErrors:
    """A stream-unary call whose outcome, when awaited, raises typed errors; all else is the call's own."""

    def __init__(self, rpc: Any, outcome: Outcome) -> None:  # noqa: ANN401 - grpc.aio's own types are open here
        self._rpc = rpc
        self._outcome = outcome

    def __await__(self) -> Generator[Any, None, Any]:
        return self._answer().__await__()

    async def _answer(self) -> Any:  # noqa: ANN401 - a message of any type
        try:
            return await self._rpc
        except grpc.aio.AioRpcError as rpc_error:
            raise (await self._outcome.error() or rpc_error) from rpc_error

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the call has
        return getattr(self._rpc, name)
