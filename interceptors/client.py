"""The client chain: the same interceptors around every call of every shape, composed of standard grpc.aio interceptors.

grpc.aio wants one interceptor for each RPC shape; the four small ones here share one core. A call's errors come out as
the exceptions of `contracts.errors`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc
import grpc.aio

from contracts.method import Method, find_method
from contracts.service_error import ServiceError
from interceptors.errors import error_of_call, error_of_status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Mapping, Sequence

    Finish = Callable[[BaseException | None], None]
    # Sends a unary call with these details and waits for its end; to be called any number of times.
    Attempt = Callable[[grpc.aio.ClientCallDetails], Coroutine[Any, Any, Any]]
    Send = Callable[["ClientCall", grpc.aio.ClientCallDetails, Attempt], Awaitable[Any]]

POLL_INTERVAL_S = 0.001
LONGEST_WAIT_FOR_STATUS_S = 1.0


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
        return dict(_at_once(answer.trailing_metadata())) if answer is not None and answer.done() else {}

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
        return _with_typed_errors(rpc, outcome)


class _StreamUnary(grpc.aio.StreamUnaryClientInterceptor, _Core):
    async def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:  # noqa: ANN401 - grpc.aio's own types are open here
        call, details = self.start(client_call_details)
        return _TypedErrors(*await _begin(call, continuation(details, request_iterator)))


class _StreamStream(grpc.aio.StreamStreamClientInterceptor, _Core):
    async def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:  # noqa: ANN401 - grpc.aio's own types are open here
        call, details = self.start(client_call_details)
        rpc, outcome = await _begin(call, continuation(details, request_iterator))
        return _with_typed_errors(rpc, outcome)


def client_chain(interceptors: Sequence[ClientInterceptor]) -> list[grpc.aio.ClientInterceptor]:
    """Return what `grpc.aio.insecure_channel(interceptors=...)` takes, running `interceptors` in their order."""
    return [shape(interceptors) for shape in (_UnaryUnary, _UnaryStream, _StreamUnary, _StreamStream)]


async def _begin(call: ClientCall, beginning: Awaitable[Any]) -> tuple[Any, _Outcome]:
    try:
        rpc = call.answer = await beginning
    except BaseException as error:
        call.finish(error)
        raise
    return rpc, _Outcome(call, rpc)


_waiting: set[asyncio.Task[None]] = set()


class _Outcome:
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
    return _Status(_at_once(rpc.code()), _at_once(rpc.details()), _at_once(rpc.trailing_metadata()))


def _at_once(asking: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401 - a part of a status
    # Only a coroutine may ask for a call's status, and a callback cannot wait; but once it is known, none waits.
    try:
        asking.send(None)
    except StopIteration as answer:
        return answer.value
    raise AssertionError("the status of a finished call is known")


async def _with_typed_errors(rpc: Any, outcome: _Outcome) -> AsyncIterator[Any]:  # noqa: ANN401 - messages of any type
    try:
        async for message in rpc:
            yield message
    except grpc.aio.AioRpcError as rpc_error:
        error = await outcome.error()
        if error is not None:
            raise error from rpc_error


class _TypedErrors:
    """A stream-unary call whose outcome, when awaited, raises typed errors; all else is the call's own."""

    def __init__(self, rpc: Any, outcome: _Outcome) -> None:  # noqa: ANN401 - grpc.aio's own types are open here
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
