"""Server chain: composes all interceptors around each handler, once per method and for all four RPC shapes.

grpc.aio asks each server interceptor for a handler on every RPC. So the server gets one interceptor, `ServerChain`,
which composes the interceptors of a method once. Later calls cost one dictionary lookup.

An interceptor also works alone or beside those of other libraries, as in
`grpc.aio.server(interceptors=[ServerDeadline()])`. Several of our interceptors in one server become one chain.

The chain takes and returns bytes. So a call can be rejected before its request is parsed, and a malformed message is an
ordinary error. A stream is one coroutine that writes to the call's context, never a generator, so each interceptor
starts and ends in the same task.
"""

from __future__ import annotations

from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc
import grpc.aio

from contracts.method import Method, find_method, methods_of
from contracts.policy import ContractError
from interceptors.chain.application import wrap_handler
from interceptors.chain.call import Call, remaining_s_of
from interceptors.chain.handlers import HANDLER_FACTORIES, handler_end, handler_function, is_generated_default
from interceptors.chain.messages import Messages
from interceptors.chain.pipeline import around, finish_all, reject_unused_start, start_all
from interceptors.chain.unusable_contracts import (
    find_service,
    is_described,
    is_imported,
    rejecting_handler,
    with_import_hint,
)
from interceptors.errors.responses import ErrorResponses

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence

    from google.protobuf.message import Message
    from grpc_interceptor.server import AsyncServerInterceptor

    from interceptors.chain.call import Finish, MessageHook, Proceed, ServicerContext, Start

    Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]]


class ServerInterceptor(grpc.aio.ServerInterceptor):
    """Base class of server interceptors: one action around each call of the methods that it applies to."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        reject_unused_start(cls, ServerInterceptor)

    @cached_property
    def _own_chain(self) -> ServerChain:
        return ServerChain([self])

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Serve as a chain of this one interceptor, as grpc.aio requires of a server interceptor."""
        return await self._own_chain.intercept_service(continuation, handler_call_details)

    def applies_to(self, method: Method) -> bool:  # noqa: ARG002 - for subclasses
        """Return whether this interceptor handles calls of `method`.

        Called before the first call of the method, perhaps more than once: a plain grpc.aio server composes the method
        at its first call, after `ServerChain.check`.
        """
        return True

    def start(self, call: Call) -> Finish | None:
        """Act before the rest of the chain and the handler; raise a ServiceError to reject the call.

        Return a function to be called once when the rest has ended, with the call and its error or None, or return
        None. An error that this function raises replaces that of the call.
        """
        start = None if _overrides(self, "start") else self._start_for(call.method)
        return None if start is None else start(call)

    def start_of(self, method: Method) -> Start | None:  # noqa: ARG002 - for subclasses
        """Return the function that starts each call of `method`, or None. Called once per method.

        Override this method instead of `start` to look up the policy of a method once, not on each call. Subclasses of
        such a class override `start_of` too, never `start`.
        """
        return self.start if _overrides(self, "start") else None

    @cached_property
    def _starts_by_path(self) -> dict[str, Start | None]:
        return {}

    def _start_for(self, method: Method) -> Start | None:
        """Return `start_of(method)`, called once, for code that starts this interceptor without a chain."""
        starts, path = self._starts_by_path, method.path
        if path not in starts:
            starts[path] = self.start_of(method)
        return starts[path]

    async def intercept(self, call: Call, proceed: Proceed) -> bytes | None:
        """Act around `await proceed(call)`, which runs the rest of the chain and the handler.

        Return the serialized response, or None if responses are streamed. Override this method for actions that await.
        The chain then does not start the interceptor itself, but this method does by default.
        """
        start = self._start_for(call.method)
        return await around([] if start is None else [start], proceed)(call)

    def on_request(self, call: Call, message: Message) -> None:
        """Inspect one parsed request before the handler gets it."""

    def on_response(self, call: Call, message: Message) -> None:
        """Inspect one response of the handler before it is sent."""

    def request_hook(self, method: Method) -> MessageHook | None:  # noqa: ARG002 - for subclasses
        """Return the function that inspects each request of `method`, or None. Called once per method."""
        return self.on_request if _overrides(self, "on_request") else None

    def response_hook(self, method: Method) -> MessageHook | None:  # noqa: ARG002 - for subclasses
        """Return the function that inspects each response of `method`, or None. Called once per method."""
        return self.on_response if _overrides(self, "on_response") else None


class ServerChain(grpc.aio.ServerInterceptor):
    """Interceptors of a server, outermost first, as one interceptor for grpc.aio.

    `ServerErrors` is always the outermost, even if it is not listed. `application` are an application's own
    interceptors, written for the grpc-interceptor package. These interceptors are innermost, so they see only messages
    that passed every check, and their errors are treated like the handler's.
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
            composed = self._compose_or_reject(path, handler)
            if is_imported(path):  # a handler that accepts every path would fill the memory
                self._handlers[path] = composed
        return composed

    def check(self, *services: str) -> None:
        """Raise ContractError if this chain cannot serve a service, given by its full name.

        A plain grpc.aio server calls its interceptors for the first time on a call, so call this method before the
        server starts. A `ChainedServer` needs no such check, because it composes services when they are added.
        """
        for service in services:
            for method in methods_of(find_service(service)):
                for interceptor in self._interceptors:
                    interceptor.applies_to(method)

    def _compose_or_reject(
        self, path: str, handler: grpc.RpcMethodHandler[Any, Any]
    ) -> grpc.RpcMethodHandler[Any, Any]:
        try:
            return self.compose(path, handler)
        except Exception as error:  # noqa: BLE001 - grpc.aio would send its text to the caller
            return rejecting_handler(path, handler, error)

    def compose(self, path: str, handler: grpc.RpcMethodHandler[Any, Any]) -> grpc.RpcMethodHandler[Any, Any]:
        """Return a handler that serves the method at `path` with `handler` inside this chain.

        Raises ContractError if the method's contract is unusable.
        """
        inner: _Composed | None = getattr(handler_function(handler), _COMPOSED, None)
        interceptors = self._interceptors
        if inner is not None:  # from another chain on the same server: merge both
            interceptors, handler = (*interceptors, *inner.interceptors), inner.handler
        if not is_generated_default(handler_function(handler)):
            handler = wrap_handler(self._application, path, handler)
        try:
            method = find_method(path)
        except ContractError as error:
            raise with_import_hint(error, path, handler) from None
        serve = _pipeline(method, handler, interceptors)
        setattr(serve, _COMPOSED, _Composed(interceptors, handler))
        return HANDLER_FACTORIES[method.request_streaming, method.response_streaming](serve)


class _Composed(NamedTuple):
    interceptors: tuple[ServerInterceptor, ...]
    handler: grpc.RpcMethodHandler[Any, Any]


_COMPOSED = "composed"


def _split_errors(interceptors: Iterable[ServerInterceptor]) -> tuple[ErrorResponses, list[ServerInterceptor]]:
    """Return the error responses, which every chain has outermost, and the other interceptors."""
    errors = next((each for each in interceptors if isinstance(each, ErrorResponses)), None)
    return errors or ErrorResponses(), [each for each in interceptors if not isinstance(each, ErrorResponses)]


def _pipeline(
    method: Method, handler: grpc.RpcMethodHandler[Any, Any], interceptors: Sequence[ServerInterceptor]
) -> Callable[[Any, ServicerContext], Awaitable[bytes | None]]:
    errors, others = _split_errors(interceptors)
    applicable = [each for each in others if each.applies_to(method)]
    messages = Messages(
        method,
        on_request=[hook for each in applicable if (hook := each.request_hook(method))],
        # Responses pass from the inside out, so a response that validation rejects is not counted as sent.
        on_response=[hook for each in reversed(applicable) if (hook := each.response_hook(method))],
    )
    proceed: Proceed = handler_end(method, handler_function(handler), messages)
    starts: list[Start] = []
    for interceptor in reversed(applicable):
        if _overrides(interceptor, "intercept"):
            proceed = partial(interceptor.intercept, proceed=around(starts, proceed))
            starts = []
        elif (start := interceptor.start_of(method)) is not None:
            starts.insert(0, start)

    async def serve(incoming: bytes | AsyncIterator[bytes], context: ServicerContext) -> bytes | None:
        fields: Sequence[tuple[str, str]] = context.invocation_metadata() or ()  # type: ignore[assignment]  # grpc.aio declares a more general type but returns pairs
        call = Call(method, context, dict(fields), incoming, fields, remaining_s_of(context))
        # Keep the request and the API key out of tracebacks.
        del incoming, fields
        # As in `around`, without a coroutine of its own.
        finishes: list[Finish] = []
        response, error = None, None
        try:
            start_all(starts, call, finishes)
            response = await proceed(call)
        except BaseException as raised:  # noqa: BLE001 - sent to the caller or raised again below
            error = raised
        error = finish_all(finishes, call, error)
        if error is None:
            context.set_trailing_metadata(call.all_trailing())
            return response
        try:
            rejection = errors.rejection_for(call, error)
            if rejection is None:
                raise error
        finally:
            del error  # its traceback holds this frame, and must not be the context of what `abort` raises
        await context.abort(rejection.code, rejection.message, call.all_trailing())
        raise AssertionError("abort must raise an exception.")

    return serve


def _overrides(interceptor: ServerInterceptor, name: str) -> bool:
    return getattr(type(interceptor), name) is not getattr(ServerInterceptor, name)
