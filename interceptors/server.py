"""The server chain: every interceptor around every handler, composed once per method and for all four RPC shapes.

grpc.aio asks each server interceptor for a handler again on every RPC. So the server gets one interceptor,
`ServerChain`, which nests the interceptors of a method once and is a dictionary look-up from then on.

The chain takes requests as bytes and gives answers as bytes: what is refused is refused before it is parsed, and a
malformed message is an error like any other. Around a stream the chain is one coroutine that writes to the call's
context, never a generator, so each interceptor begins and ends in the same task.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import grpc
import grpc.aio

from contracts.method import Method, find_method
from interceptors.handlers import Messages, behaviour_of, innermost, is_generated_default

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from google.protobuf.message import Message
    from grpc_interceptor.server import AsyncServerInterceptor

    Context = grpc.aio.ServicerContext[Any, Any]
    Proceed = Callable[["Call"], Awaitable[bytes | None]]


@dataclass(slots=True)
class Call:
    """One call, as the interceptors of the server see it; each fills in what it finds out."""

    method: Method
    context: Context
    metadata: Mapping[str, str]
    incoming: bytes | AsyncIterator[bytes]
    correlation_id: str = ""
    caller: str = ""
    notes: dict[str, object] = field(default_factory=dict)

    @property
    def remaining_s(self) -> float:
        """The seconds left until the caller's deadline; infinite where it set none."""
        # grpc.aio gives None where its types promise a number.
        remaining_s = cast("float | None", self.context.time_remaining())
        return math.inf if remaining_s is None else remaining_s


class ServerInterceptor:
    """Does one thing around every call of the methods that it applies to."""

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


class ServerChain(grpc.aio.ServerInterceptor):
    """The interceptors of a server, outermost first, as the single interceptor that grpc.aio knows of.

    `application` are an application's own, written for the grpc-interceptor package. They stand innermost: they see
    messages that have passed every check, and what they raise is answered as if the handler had raised it.
    """

    def __init__(
        self, interceptors: Sequence[ServerInterceptor], application: Sequence[AsyncServerInterceptor] = ()
    ) -> None:
        self._interceptors = tuple(interceptors)
        self._application = tuple(application)
        self._handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        path = handler_call_details.method
        composed = self._handlers.get(path)
        if composed is None:
            handler = await continuation(handler_call_details)
            if handler is None:
                return None
            if not is_generated_default(behaviour_of(handler)):
                handler = await self._inside_application(handler, handler_call_details)
            composed = self._handlers[path] = self._compose(find_method(path), handler)
        return composed

    async def _inside_application(
        self, handler: grpc.RpcMethodHandler[Any, Any], details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any]:
        # Such an interceptor looks at nothing but the method's name, so it too is asked once for each method.
        for interceptor in reversed(self._application):
            handler = await interceptor.intercept_service(partial(_give, handler), details)
        return handler

    def _compose(self, method: Method, handler: grpc.RpcMethodHandler[Any, Any]) -> grpc.RpcMethodHandler[Any, Any]:
        applicable = [each for each in self._interceptors if each.applies_to(method)]
        messages = Messages(
            method,
            on_request=[each.on_request for each in applicable if _overrides(each, "on_request")],
            on_response=[each.on_response for each in applicable if _overrides(each, "on_response")],
        )
        proceed: Proceed = innermost(method, behaviour_of(handler), messages)
        for interceptor in reversed(applicable):
            if _overrides(interceptor, "intercept"):
                proceed = partial(interceptor.intercept, proceed=proceed)

        async def serve(incoming: bytes | AsyncIterator[bytes], context: Context) -> bytes | None:
            metadata = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
            return await proceed(Call(method, context, metadata, incoming))

        return _AS_HANDLER[method.request_streaming, method.response_streaming](serve)


async def _give(
    handler: grpc.RpcMethodHandler[Any, Any], _details: grpc.HandlerCallDetails
) -> grpc.RpcMethodHandler[Any, Any]:
    return handler


def _overrides(interceptor: ServerInterceptor, name: str) -> bool:
    return getattr(type(interceptor), name) is not getattr(ServerInterceptor, name)


# By (requests are streamed, answers are streamed). Without (de)serializers the core hands bytes through.
_AS_HANDLER: dict[tuple[bool, bool], Callable[..., grpc.RpcMethodHandler[Any, Any]]] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}
