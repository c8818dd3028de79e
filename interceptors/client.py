"""The client chain: the same interceptors around every call of every shape, composed of standard grpc.aio interceptors.

grpc.aio wants one interceptor for each RPC shape; the four small ones here share one core. A call's errors come out as
the exceptions of `contracts.errors`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from contracts.method import Method, find_method
from interceptors.errors import error_of_call, error_of_status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Sequence

    Finish = Callable[[BaseException | None], None]


@dataclass(slots=True)
class ClientCall:
    """One outgoing call, as the interceptors of the client see it before it is sent."""

    method: Method
    metadata: list[tuple[str, str | bytes]]
    timeout_s: float | None
    correlation_id: str = ""
    finishing: list[Finish] = field(default_factory=list)

    def finish(self, error: BaseException | None) -> None:
        """Tell every interceptor how the call ended, innermost first."""
        for finish in reversed(self.finishing):
            finish(error)


class ClientInterceptor:
    """Does one thing before every outgoing call and, if it says so, one when the call has ended."""

    def start(self, call: ClientCall) -> Finish | None:
        """Prepare `call`, or refuse it by raising a ServiceError: then nothing is sent.

        What is returned is called once when the call has ended, with its error or None.
        """
        raise NotImplementedError


class _Core:
    """What the interceptors of all four shapes share."""

    def __init__(self, interceptors: Sequence[ClientInterceptor]) -> None:
        self._interceptors = tuple(interceptors)
        self._methods: dict[str | bytes, Method] = {}

    def start(self, details: grpc.aio.ClientCallDetails) -> tuple[ClientCall, grpc.aio.ClientCallDetails]:
        path: str | bytes = details.method
        method = self._methods.get(path)
        if method is None:
            method = self._methods[path] = find_method(path.decode() if isinstance(path, bytes) else path)
        call = ClientCall(method, list(details.metadata or ()), details.timeout)
        for interceptor in self._interceptors:
            try:
                finish = interceptor.start(call)
            except BaseException as error:
                call.finish(error)
                raise
            if finish is not None:
                call.finishing.append(finish)
        metadata = grpc.aio.Metadata(*call.metadata)
        sent = grpc.aio.ClientCallDetails(
            details.method, call.timeout_s, metadata, details.credentials, details.wait_for_ready
        )
        return call, sent


class _UnaryUnary(grpc.aio.UnaryUnaryClientInterceptor, _Core):
    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:  # noqa: ANN401 - grpc.aio's own types are open here
        call, details = self.start(client_call_details)
        error: BaseException | None = None
        try:
            rpc = await continuation(details, request)
            await rpc
        except grpc.aio.AioRpcError as rpc_error:
            error = error_of_call(rpc_error, call.method.full_name)
            raise error from rpc_error
        except BaseException as other:
            error = other
            raise
        else:
            return rpc
        finally:
            call.finish(error)


class _UnaryStream(grpc.aio.UnaryStreamClientInterceptor, _Core):
    async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:  # noqa: ANN401 - grpc.aio's own types are open here
        call, details = self.start(client_call_details)
        return _with_typed_errors(call, await _begin(call, continuation(details, request)))


class _StreamUnary(grpc.aio.StreamUnaryClientInterceptor, _Core):
    async def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:  # noqa: ANN401 - grpc.aio's own types are open here
        call, details = self.start(client_call_details)
        return _TypedErrors(call, await _begin(call, continuation(details, request_iterator)))


class _StreamStream(grpc.aio.StreamStreamClientInterceptor, _Core):
    async def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:  # noqa: ANN401 - grpc.aio's own types are open here
        call, details = self.start(client_call_details)
        return _with_typed_errors(call, await _begin(call, continuation(details, request_iterator)))


def client_chain(interceptors: Sequence[ClientInterceptor]) -> list[grpc.aio.ClientInterceptor]:
    """Return what `grpc.aio.insecure_channel(interceptors=...)` takes, running `interceptors` in their order."""
    return [shape(interceptors) for shape in (_UnaryUnary, _UnaryStream, _StreamUnary, _StreamStream)]


async def _begin(call: ClientCall, beginning: Awaitable[Any]) -> Any:  # noqa: ANN401 - a call of any streaming shape
    try:
        rpc = await beginning
    except BaseException as error:
        call.finish(error)
        raise
    rpc.add_done_callback(lambda _: _finish_later(call, rpc))
    return rpc


_finishing: set[asyncio.Task[None]] = set()


def _finish_later(call: ClientCall, rpc: Any) -> None:  # noqa: ANN401 - a call of any streaming shape
    # The status of a finished call is known, but only a coroutine may ask for it.
    task = asyncio.get_running_loop().create_task(_finish(call, rpc))
    _finishing.add(task)
    task.add_done_callback(_finishing.discard)


async def _finish(call: ClientCall, rpc: Any) -> None:  # noqa: ANN401 - a call of any streaming shape
    code = await rpc.code()
    if code is grpc.StatusCode.OK:
        call.finish(None)
    else:
        call.finish(error_of_status(code, await rpc.details(), await rpc.trailing_metadata(), call.method.full_name))


async def _with_typed_errors(call: ClientCall, rpc: Any) -> AsyncIterator[Any]:  # noqa: ANN401 - messages of any type
    try:
        async for message in rpc:
            yield message
    except grpc.aio.AioRpcError as error:
        raise error_of_call(error, call.method.full_name) from error


class _TypedErrors:
    """A stream-unary call whose outcome, when awaited, raises typed errors; all else is the call's own."""

    def __init__(self, call: ClientCall, rpc: Any) -> None:  # noqa: ANN401 - grpc.aio's own types are open here
        self._call = call
        self._rpc = rpc

    def __await__(self) -> Generator[Any, None, Any]:
        return self._outcome().__await__()

    async def _outcome(self) -> Any:  # noqa: ANN401 - a message of any type
        try:
            return await self._rpc
        except grpc.aio.AioRpcError as error:
            raise error_of_call(error, self._call.method.full_name) from error

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the call has
        return getattr(self._rpc, name)
