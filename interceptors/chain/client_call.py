"""Call objects of a chained channel; they raise the errors of the contracts.

docs/interceptors.md lists every difference from the calls of grpc.aio.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from contracts.status import error_of_status
from interceptors.chain.immediate import status_part

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator

    from contracts.service_error import ServiceError
    from interceptors.chain.client import ClientCall
    from interceptors.chain.untyped import AnyAttribute, AnyCall, AnyMessage

POLL_INTERVAL_S = 0.001
MAX_STATUS_WAIT_S = 1.0

_status_tasks: set[asyncio.Task[None]] = set()


class CallOutcome:
    """Outcome of one call, reported once to each interceptor and to code that waits for the error."""

    __slots__ = ("_call", "_callee", "_ended", "_error", "is_awaited")

    def __init__(self, call: ClientCall, rpc: AnyCall) -> None:
        self._call: ClientCall | None = call
        self._callee = call.method.full_name
        self._error: ServiceError | None = None
        self._ended: asyncio.Event | None = None
        # Whether the response is awaited. Then `__await__` reports the end of the call.
        self.is_awaited = False
        call.rpc = rpc
        rpc.add_done_callback(self._on_status)

    async def error(self) -> ServiceError | None:
        """Wait for the end of the call; return its error, or None if it succeeded."""
        if self._call is not None:
            self._ended = self._ended or asyncio.Event()
            await self._ended.wait()
        return self._error

    def end(self, error: BaseException | None) -> None:
        """Report the end of the call to each interceptor; do nothing the second time."""
        # Drop the call, because it references this object: a reference cycle would delay its release.
        call, self._call = self._call, None
        try:
            if call is not None:
                call.finish(error)
        finally:
            if self._ended is not None:
                self._ended.set()

    def _on_status(self, rpc: AnyCall) -> None:
        if self.is_awaited:
            return
        code = status_part(rpc.code())
        if code is grpc.StatusCode.OK:
            self.end(None)
        elif _is_failed_write(rpc):
            task = asyncio.get_running_loop().create_task(self._await_status(rpc))
            _status_tasks.add(task)
            task.add_done_callback(_status_tasks.discard)
        else:
            self.fail(rpc)

    async def _await_status(self, rpc: AnyCall) -> None:
        # The server's own status replaces that of the failed write. grpc.aio reports no event for it, so poll.
        for _ in range(int(MAX_STATUS_WAIT_S / POLL_INTERVAL_S)):
            await asyncio.sleep(POLL_INTERVAL_S)
            if not _is_failed_write(rpc):
                break
        self.fail(rpc)

    def fail(self, rpc: AnyCall) -> None:
        """Report the end of a call with the status of `rpc`, which has ended."""
        code, message, trailing = (
            status_part(rpc.code()),
            status_part(rpc.details()),
            status_part(rpc.trailing_metadata()),
        )
        if code is not grpc.StatusCode.OK:
            self._error = error_of_status(code, message, trailing, self._callee)
        self.end(self._error)


class ChainedCall:
    """Base class of chained calls: raises the contracts' errors and delegates the rest to gRPC's call.

    Each RPC shape has a subclass.
    """

    __slots__ = ("_outcome", "_rpc")

    def __init__(self, rpc: AnyCall, outcome: CallOutcome) -> None:
        self._rpc = rpc
        self._outcome = outcome

    def __getattr__(self, name: str) -> AnyAttribute:
        return getattr(self._rpc, name)

    def __repr__(self) -> str:
        return repr(self._rpc)

    def add_done_callback(self, callback: Callable[[ChainedCall], None]) -> None:
        self._rpc.add_done_callback(lambda _: callback(self))

    async def wait_for_connection(self) -> None:
        try:
            await self._rpc.wait_for_connection()
        except grpc.aio.AioRpcError as rpc_error:
            raise await self._contract_error(rpc_error) from rpc_error

    async def _contract_error(self, rpc_error: Exception) -> Exception:
        return await self._outcome.error() or rpc_error


class _StreamingRequests(ChainedCall):
    __slots__ = ()

    def __init__(self, rpc: AnyCall, outcome: CallOutcome) -> None:
        super().__init__(rpc, outcome)
        # grpc.aio reads an iterator of requests in this task. Only `cancel()` of the call ends the task. Otherwise it
        # waits for the next request until garbage collection reports "Task was destroyed but it is pending".
        reader: asyncio.Task[None] | None = getattr(rpc, "_async_request_poller", None)
        if reader is not None:
            rpc.add_done_callback(lambda _: reader.cancel())

    async def write(self, message: AnyMessage) -> None:
        try:
            await self._rpc.write(message)
        except grpc.aio.AioRpcError as rpc_error:
            raise await self._contract_error(rpc_error) from rpc_error
        except asyncio.InvalidStateError as rpc_error:
            # After `done_writing` the call is still running, so its error could arrive much later.
            if not self._rpc.done() or self._rpc.cancelled():
                raise
            raise await self._contract_error(rpc_error) from rpc_error


class _SingleResponse(ChainedCall):
    __slots__ = ()

    def __await__(self) -> Generator[Any, None, Any]:
        try:
            return (yield from self._rpc.__await__())
        except grpc.aio.AioRpcError as rpc_error:
            raise (yield from self._contract_error(rpc_error).__await__()) from rpc_error
        except BaseException as error:
            self._outcome.end(error)
            raise


class _StreamingResponses(ChainedCall):
    __slots__ = ()

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._iterate(self._rpc.__aiter__())

    async def _iterate(self, responses: AsyncIterator[Any]) -> AsyncIterator[Any]:
        try:
            async for message in responses:
                yield message
        except grpc.aio.AioRpcError as rpc_error:
            await self._raise_unless_ok(rpc_error)

    async def read(self) -> AnyMessage:
        try:
            return await self._rpc.read()
        except grpc.aio.AioRpcError as rpc_error:
            await self._raise_unless_ok(rpc_error)
            return grpc.aio.EOF

    async def _raise_unless_ok(self, rpc_error: grpc.aio.AioRpcError) -> None:
        # If the server ends a call during a write, grpc.aio raises an error even if the status is OK.
        error = await self._outcome.error()
        if error is not None:
            raise error from rpc_error


class UnaryUnary(_SingleResponse):
    """Call with one request and one response: `await` it."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, None, Any]:
        # An awaited call takes a shorter path, because its status need not be read.
        outcome = self._outcome
        outcome.is_awaited = True
        try:
            response = yield from self._rpc.__await__()
        except grpc.aio.AioRpcError as rpc_error:
            outcome.fail(self._rpc)
            raise (yield from self._contract_error(rpc_error).__await__()) from rpc_error
        except BaseException as error:
            outcome.end(error)
            raise
        outcome.end(None)
        return response


class UnaryStream(_StreamingResponses):
    """Call with one request and a stream of responses: iterate over it, or `read` them."""

    __slots__ = ()


class StreamUnary(_SingleResponse, _StreamingRequests):
    """Call with a stream of requests, which may be written, and one response."""

    __slots__ = ()


class StreamStream(_StreamingResponses, _StreamingRequests):
    """Call with a stream of requests, which may be written, and a stream of responses."""

    __slots__ = ()


# For `isinstance`. The classes do not inherit from grpc.aio's, because they delegate everything except errors.
grpc.aio.UnaryUnaryCall.register(UnaryUnary)
grpc.aio.UnaryStreamCall.register(UnaryStream)
grpc.aio.StreamUnaryCall.register(StreamUnary)
grpc.aio.StreamStreamCall.register(StreamStream)


def _is_failed_write(rpc: AnyCall) -> bool:
    """Return whether grpc.aio invented the status, because the server ended the call during a write."""
    return (
        status_part(rpc.code()) is grpc.StatusCode.INTERNAL and status_part(rpc.details()) == "Internal error from Core"
    )
