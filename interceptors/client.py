"""The client chain: the same interceptors around every call of every shape, composed of standard grpc.aio interceptors.

grpc.aio wants one interceptor for each RPC shape; the four small ones here share one core. A call's errors come out as
the exceptions of `contracts.errors`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc.aio

from contracts.method import Method, find_method
from contracts.service_error import ServiceError
from interceptors.client_stream import Outcome, TypedErrors, at_once, with_typed_errors
from interceptors.errors import error_of_call

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence

    Finish = Callable[[BaseException | None], None]
    # Sends a unary call with these details and waits for its end; to be called any number of times.
    Attempt = Callable[[grpc.aio.ClientCallDetails], Coroutine[Any, Any, Any]]
    Send = Callable[["ClientCall", grpc.aio.ClientCallDetails, Attempt], Awaitable[Any]]


@dataclass(slots=True)
class ClientCall:
    """One outgoing call, as the interceptors of the client see it: before it is sent, and once it has ended."""

    method: Method
    metadata: list[tuple[str, str | bytes]]
    timeout_s: float | None
    correlation_id: str = ""
    # Where the call's trace is recorded; empty where it is not.
    trace_id: str = ""
    finishing: list[Finish] = field(default_factory=list)
    # How a unary call is sent, where it is not simply sent once; `attempts` counts what is sent from here.
    send: Send | None = None
    attempts: int = 1
    # grpc.aio's call, or the trailing metadata of its error; None where nothing was sent.
    answer: Any = None

    @property
    def trailing(self) -> Mapping[str, str | bytes]:
        """The trailing metadata of a call that has ended; empty where none came. It is read when asked for."""
        answer = self.answer
        if isinstance(answer, grpc.aio.Metadata):
            return dict(answer)
        return dict(at_once(answer.trailing_metadata())) if answer is not None and answer.done() else {}

    def finish(self, error: BaseException | None) -> None:
        """Tell every interceptor how the call ended, innermost first."""
        # Emptied, because they hold the call that holds them: it would stay until it is collected.
        while self.finishing:
            self.finishing.pop()(error)


class ClientInterceptor:
    """Does one thing before every outgoing call and, if it says so, one when the call has ended."""

    def start(self, call: ClientCall) -> Finish | None:
        """Prepare `call`, or refuse it by raising a ServiceError: then nothing is sent, and the error is the callee's.

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
                if isinstance(error, ServiceError) and not error.callee:
                    error.callee = method.full_name
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
        try:
            if call.send is None:
                rpc = call.answer = await continuation(details, request)
                await rpc
            else:
                rpc = call.answer = await call.send(call, details, partial(_attempt, continuation, request))
        except grpc.aio.AioRpcError as rpc_error:
            raise _ended(call, rpc_error) from rpc_error
        except BaseException as error:
            call.finish(error)
            raise
        call.finish(None)
        return rpc


def _ended(call: ClientCall, rpc_error: grpc.aio.AioRpcError) -> ServiceError:
    # An error that its own frame holds stays until it is collected: so not here, and of the other its metadata alone.
    call.answer = rpc_error.trailing_metadata()
    error = error_of_call(rpc_error, call.method.full_name)
    call.finish(error)
    return error


async def _attempt(continuation: Any, request: Any, details: grpc.aio.ClientCallDetails) -> Any:  # noqa: ANN401 - grpc.aio's own types are open here
    rpc = await continuation(details, request)
    await rpc
    return rpc


class _UnaryStream(grpc.aio.UnaryStreamClientInterceptor, _Core):
    async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:  # noqa: ANN401 - grpc.aio's own types are open here
        call, details = self.start(client_call_details)
        rpc, outcome = await _begin(call, continuation(details, request))
        return with_typed_errors(rpc, outcome)


class _StreamUnary(grpc.aio.StreamUnaryClientInterceptor, _Core):
    async def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:  # noqa: ANN401 - grpc.aio's own types are open here
        call, details = self.start(client_call_details)
        return TypedErrors(*await _begin(call, continuation(details, request_iterator)))


class _StreamStream(grpc.aio.StreamStreamClientInterceptor, _Core):
    async def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:  # noqa: ANN401 - grpc.aio's own types are open here
        call, details = self.start(client_call_details)
        rpc, outcome = await _begin(call, continuation(details, request_iterator))
        return with_typed_errors(rpc, outcome)


def client_chain(interceptors: Sequence[ClientInterceptor]) -> list[grpc.aio.ClientInterceptor]:
    """Return what `grpc.aio.insecure_channel(interceptors=...)` takes, running `interceptors` in their order."""
    return [shape(interceptors) for shape in (_UnaryUnary, _UnaryStream, _StreamUnary, _StreamStream)]


async def _begin(call: ClientCall, beginning: Awaitable[Any]) -> tuple[Any, Outcome]:
    try:
        rpc = call.answer = await beginning
    except BaseException as error:
        call.finish(error)
        raise
    return rpc, Outcome(call, rpc)
