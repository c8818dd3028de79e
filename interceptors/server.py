"""The server chain: every interceptor around every handler, composed once per method and for all four RPC shapes.

grpc.aio asks each server interceptor for a handler again on every RPC. So the server gets one interceptor,
`ServerChain`, which nests the interceptors of a method once and is a dictionary look-up from then on.

An interceptor may also stand alone in any server, or beside those of other libraries, as in
`grpc.aio.server(interceptors=[ServerDeadline()])`. Several of ours in one server become one chain.

The chain takes requests as bytes and gives answers as bytes: what is refused is refused before it is parsed, and a
malformed message is an error like any other. Around a stream the chain is one coroutine that writes to the call's
context, never a generator, so each interceptor begins and ends in the same task.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import grpc
import grpc.aio

from contracts.method import Method, find_method, methods_of
from contracts.policy import ContractError
from interceptors.application import MethodDetails as MethodDetails
from interceptors.application import inside
from interceptors.handlers import Messages, behaviour_of, innermost, is_generated_default
from interceptors.usability import AS_HANDLER, explained, is_described, is_imported, refusing, service_named

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence

    from google.protobuf.message import Message
    from grpc_interceptor.server import AsyncServerInterceptor

    from interceptors.handlers import LookAt

    Context = grpc.aio.ServicerContext[Any, Any]
    Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]]
    Proceed = Callable[["Call"], Awaitable[bytes | None]]

_DELIVERY_S = 0.005
_ROUNDING = 0.01
_FOR_EVER_S = 1e9

# gRPC's core says with it how often it has tried the call before (gRFC A6).
PREVIOUS_ATTEMPTS = "grpc-previous-rpc-attempts"
_MOST_DIGITS = 3


@dataclass(slots=True, repr=False)
class Call:
    """One call, as the interceptors of the server see it; each fills in what it finds out.

    `metadata` is by name, the last of each name; `fields` is all of it. `trailing` is the
    metadata that goes out with the call's end, however it ends; `notes` are facts for the access log.
    `allowed_s` is the time that the call was given when it arrived, 0 where nothing limits it. `last_message_at` is
    when a message of a stream that may not be idle has passed, on the clock of `time.monotonic`.
    """

    method: Method
    context: Context
    metadata: Mapping[str, str]
    incoming: bytes | AsyncIterator[bytes]
    fields: Sequence[tuple[str, str]] = ()
    correlation_id: str = ""
    caller: str = ""
    # Where the call's trace is recorded; empty where it is not.
    trace_id: str = ""
    allowed_s: float = 0.0
    last_message_at: float = 0.0
    trailing: list[tuple[str, str | bytes]] = field(default_factory=list)
    notes: dict[str, object] = field(default_factory=dict)

    def __repr__(self) -> str:
        # Tracebacks show it: no metadata, which holds the API key, and no request.
        return f"<Call of {self.method.full_name}, correlation id {self.correlation_id or 'not known'}>"

    @property
    def remaining_s(self) -> float:
        """The seconds left until the caller's deadline; infinite where it set none."""
        # Where its types promise a number, grpc.aio gives None, and other servers give one of 19 digits.
        remaining_s = cast("float | None", self.context.time_remaining())
        return math.inf if remaining_s is None or remaining_s > _FOR_EVER_S else remaining_s

    def is_out_of_time(self) -> bool:
        """Tell whether it is the caller's deadline that ends the call now.

        The deadline that the server knows is a little later than the caller's: it came with the call, and gRPC's core
        rounds it up by as much as 1 %.
        """
        return self.remaining_s <= max(_DELIVERY_S, _ROUNDING * self.allowed_s)

    @property
    def previous_attempts(self) -> int:
        """How often the caller's gRPC core has sent this call before (gRFC A6)."""
        attempts = self.metadata.get(PREVIOUS_ATTEMPTS)
        return int(attempts) if attempts and len(attempts) <= _MOST_DIGITS and attempts.isdecimal() else 0

    def whole_trailing(self) -> tuple[tuple[str, str | bytes], ...]:
        """Return the metadata of the call's end: what the handler has set, and `trailing`."""
        return (*(self.context.trailing_metadata() or ()), *self.trailing)


class ServerInterceptor(grpc.aio.ServerInterceptor):
    """Does one thing around every call of the methods that it applies to."""

    @cached_property
    def _alone(self) -> ServerChain:
        return ServerChain([self])

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Serve as the only interceptor of a chain: what grpc.aio asks of a server's interceptors."""
        return await self._alone.intercept_service(continuation, handler_call_details)

    def applies_to(self, method: Method) -> bool:  # noqa: ARG002 - for subclasses
        """Tell, once per method, whether calls of `method` pass through this interceptor."""
        return True

    async def intercept(self, call: Call, proceed: Proceed) -> bytes | None:
        """Do what is to be done around `await proceed(call)`, which runs the rest of the chain and the handler.

        The result is the serialized answer, or None where answers are streamed.
        """
        return await proceed(call)

    def on_request(self, call: Call, message: Message) -> None:
        """Look at one parsed request message before the handler gets it."""

    def on_response(self, call: Call, message: Message) -> None:
        """Look at one answer of the handler before it is sent."""

    def request_hook(self, method: Method) -> LookAt | None:  # noqa: ARG002 - for subclasses
        """Return the function that looks at each request of `method`, or None; called once per method."""
        return self.on_request if _overrides(self, "on_request") else None

    def response_hook(self, method: Method) -> LookAt | None:  # noqa: ARG002 - for subclasses
        """Return the function that looks at each answer of `method`, or None; called once per method."""
        return self.on_response if _overrides(self, "on_response") else None


class ServerChain(grpc.aio.ServerInterceptor):
    """The interceptors of a server, outermost first, as the single interceptor that grpc.aio knows of.

    Errors are always answered by `ServerErrors`, outermost, whether it is named or not. `application` are an
    application's own interceptors, written for the grpc-interceptor package. They stand innermost: they see messages
    that have passed every check, and what they raise is answered as if the handler had raised it.
    """

    def __init__(
        self, interceptors: Sequence[ServerInterceptor], application: Sequence[AsyncServerInterceptor] = ()
    ) -> None:
        self._interceptors = tuple(interceptors)
        self._application = tuple(application)
        self._handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        path = handler_call_details.method
        composed = self._handlers.get(path)
        if composed is None:
            handler = await continuation(handler_call_details)
            if handler is None:
                return None
            if not is_described(path, handler):
                return handler
            composed = self._composed_or_refusing(path, handler)
            if is_imported(path):  # or else a handler of every path would fill the memory
                self._handlers[path] = composed
        return composed

    def check(self, *services: str) -> None:
        """Raise ContractError where a service, by its full name, cannot be served by this chain.

        A server that asks its interceptors on each call tells them nothing before: call this before it starts. A
        `ChainedServer` needs no such check, as it composes what is added to it at once.
        """
        for service in services:
            for method in methods_of(service_named(service)):
                for interceptor in _with_errors_outermost(self._interceptors):
                    interceptor.applies_to(method)

    def _composed_or_refusing(
        self, path: str, handler: grpc.RpcMethodHandler[Any, Any]
    ) -> grpc.RpcMethodHandler[Any, Any]:
        try:
            return self.compose(path, handler)
        except Exception as error:  # noqa: BLE001 - grpc.aio would send its text to the caller
            return refusing(path, handler, error)

    def compose(self, path: str, handler: grpc.RpcMethodHandler[Any, Any]) -> grpc.RpcMethodHandler[Any, Any]:
        """Return a handler that serves the method called by `path` with `handler` inside this chain.

        Raises ContractError where the contract of the method cannot be served.
        """
        inner: _Composed | None = getattr(behaviour_of(handler), _COMPOSED, None)
        interceptors = self._interceptors
        if inner is not None:  # by another chain on the same server: both become one
            interceptors, handler = (*interceptors, *inner.interceptors), inner.handler
        if not is_generated_default(behaviour_of(handler)):
            handler = inside(self._application, path, handler)
        try:
            method = find_method(path)
        except ContractError as error:
            raise explained(error, path, handler) from None
        serve = _nested(method, handler, _with_errors_outermost(interceptors))
        setattr(serve, _COMPOSED, _Composed(interceptors, handler))
        return AS_HANDLER[method.request_streaming, method.response_streaming](serve)


class _Composed(NamedTuple):
    interceptors: tuple[ServerInterceptor, ...]
    handler: grpc.RpcMethodHandler[Any, Any]


_COMPOSED = "composed"


def _with_errors_outermost(interceptors: Iterable[ServerInterceptor]) -> list[ServerInterceptor]:
    from interceptors.errors import ServerErrors  # noqa: PLC0415 - it is an interceptor itself, and imports this module

    errors = [each for each in interceptors if isinstance(each, ServerErrors)] or [ServerErrors()]
    return [errors[0], *(each for each in interceptors if not isinstance(each, ServerErrors))]


def _nested(
    method: Method, handler: grpc.RpcMethodHandler[Any, Any], interceptors: Sequence[ServerInterceptor]
) -> Callable[[Any, Context], Awaitable[bytes | None]]:
    applicable = [each for each in interceptors if each.applies_to(method)]
    messages = Messages(
        method,
        on_request=[hook for each in applicable if (hook := each.request_hook(method))],
        # Answers pass from the inside out: an answer that validation refuses is not counted as sent.
        on_response=[hook for each in reversed(applicable) if (hook := each.response_hook(method))],
    )
    proceed: Proceed = innermost(method, behaviour_of(handler), messages)
    for interceptor in reversed(applicable):
        if _overrides(interceptor, "intercept"):
            proceed = partial(interceptor.intercept, proceed=proceed)

    async def serve(incoming: bytes | AsyncIterator[bytes], context: Context) -> bytes | None:
        # grpc.aio gives pairs where its types promise more.
        fields = cast("Sequence[tuple[str, str]]", context.invocation_metadata() or ())
        call = Call(method, context, dict(fields), incoming, fields)
        # No traceback shows the request or the API key.
        del incoming, fields
        reply = await proceed(call)
        context.set_trailing_metadata(call.whole_trailing())
        return reply

    return serve


def _overrides(interceptor: ServerInterceptor, name: str) -> bool:
    return getattr(type(interceptor), name) is not getattr(ServerInterceptor, name)
