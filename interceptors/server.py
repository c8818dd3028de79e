"""The server chain: every interceptor around every handler, composed once per method and for all four RPC shapes.

grpc.aio asks each server interceptor for a handler again on every RPC. So the server gets one interceptor,
`ServerChain`, which nests the interceptors of a method once and is a dictionary look-up from then on.

The chain takes requests as bytes and gives answers as bytes: what is refused is refused before it is parsed, and a
malformed message is an error like any other. Around a stream the chain is one coroutine that writes to the call's
context, never a generator, so each interceptor begins and ends in the same task.
"""

from __future__ import annotations

import inspect
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message

from contracts.errors import Internal, InvalidRequest, Unimplemented
from contracts.method import Method, find_method

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

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
    """The interceptors of a server, outermost first, as the single interceptor that grpc.aio knows of."""

    def __init__(self, interceptors: Sequence[ServerInterceptor]) -> None:
        self._interceptors = tuple(interceptors)
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
            composed = self._handlers[path] = self._compose(find_method(path), handler)
        return composed

    def _compose(self, method: Method, handler: grpc.RpcMethodHandler[Any, Any]) -> grpc.RpcMethodHandler[Any, Any]:
        applicable = [each for each in self._interceptors if each.applies_to(method)]
        messages = Messages(method, applicable)
        proceed: Proceed = _innermost(method, handler, messages)
        for interceptor in reversed(applicable):
            proceed = partial(interceptor.intercept, proceed=proceed)

        async def serve(incoming: bytes | AsyncIterator[bytes], context: Context) -> bytes | None:
            metadata = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
            return await proceed(Call(method, context, metadata, incoming))

        return _AS_HANDLER[method.request_streaming, method.response_streaming](serve)


class Messages:
    """Turns bytes into messages and back for one method, and shows each message to the interceptors that look at it."""

    def __init__(self, method: Method, interceptors: Sequence[ServerInterceptor]) -> None:
        self._request_type = method.request_type
        self._response_type = method.response_type
        self._on_request = [i.on_request for i in interceptors if _overrides(i, "on_request")]
        self._on_response = [i.on_response for i in interceptors if _overrides(i, "on_response")]

    def parse_one(self, call: Call) -> Message:
        """Return the request of a call that has one; raise as `parse` does."""
        return self.parse(call, cast("bytes", call.incoming))

    def parse(self, call: Call, raw: bytes) -> Message:
        """Return the request in `raw`; raise InvalidRequest where the bytes are none, or an interceptor refuses it."""
        try:
            message = self._request_type.FromString(raw)
        except DecodeError:
            raise InvalidRequest("The request is not a well-formed message of its type.") from None
        for look_at in self._on_request:
            look_at(call, message)
        return message

    async def parse_each(self, call: Call) -> AsyncIterator[Message]:
        """Yield the requests of a stream."""
        async for raw in cast("AsyncIterator[bytes]", call.incoming):
            yield self.parse(call, raw)

    def serialize(self, call: Call, message: object) -> bytes:
        """Return an answer as bytes; raise Internal where the handler answers with another type."""
        if not isinstance(message, self._response_type):
            raise Internal(f"the handler answered with {type(message).__name__}, not {self._response_type.__name__}")
        for look_at in self._on_response:
            look_at(call, message)
        return message.SerializeToString()


class StreamContext:
    """A streaming call's context for its handler: `read` and `write` speak messages, all else is the call's own."""

    def __init__(self, call: Call, messages: Messages) -> None:
        self._call = call
        self._messages = messages

    async def read(self) -> object:
        raw = await self._call.context.read()
        return self._messages.parse(self._call, raw) if isinstance(raw, bytes) else raw

    async def write(self, message: object) -> None:
        await self._call.context.write(self._messages.serialize(self._call, message))

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the context has
        return getattr(self._call.context, name)


def _innermost(method: Method, handler: grpc.RpcMethodHandler[Any, Any], messages: Messages) -> Proceed:
    behaviour: Any = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    if _is_generated_default(behaviour):
        return _refuse_unimplemented
    streaming = method.request_streaming or method.response_streaming
    answer = _ANSWER[method.response_streaming, inspect.isasyncgenfunction(behaviour)]

    async def handle(call: Call) -> bytes | None:
        requests: Any = (
            messages.parse_each(call)
            if method.request_streaming
            else messages.parse(call, cast("bytes", call.incoming))
        )
        context = StreamContext(call, messages) if streaming else call.context
        return await answer(behaviour(requests, context), call, messages)

    return handle


def _is_generated_default(behaviour: object) -> bool:
    return str(getattr(behaviour, "__module__", "")).endswith("_pb2_grpc")


async def _refuse_unimplemented(call: Call) -> bytes | None:
    raise Unimplemented(f"{call.method.full_name} is in the contract, but no service answers it yet.")


async def _answer_one(answering: Awaitable[object], call: Call, messages: Messages) -> bytes | None:
    return messages.serialize(call, await answering)


async def _answer_written(writing: Awaitable[None], _call: Call, _messages: Messages) -> bytes | None:
    await writing
    return None


async def _answer_yielded(answers: Any, call: Call, messages: Messages) -> bytes | None:  # noqa: ANN401 - an async generator
    async with aclosing(answers):
        async for message in answers:
            await call.context.write(messages.serialize(call, message))
    return None


def _overrides(interceptor: ServerInterceptor, name: str) -> bool:
    return getattr(type(interceptor), name) is not getattr(ServerInterceptor, name)


# By (answers are streamed, the handler is an async generator).
_ANSWER: dict[tuple[bool, bool], Callable[[Any, Call, Messages], Awaitable[bytes | None]]] = {
    (False, False): _answer_one,
    (True, False): _answer_written,
    (True, True): _answer_yielded,
}

# By (requests are streamed, answers are streamed). Without (de)serializers the core hands bytes through.
_AS_HANDLER: dict[tuple[bool, bool], Callable[..., grpc.RpcMethodHandler[Any, Any]]] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}
