"""Handlers: the innermost of the chain, which parses requests, runs a handler of whatever kind, and serializes answers.

A handler is a coroutine, an async generator, or a coroutine that uses `context.read` and `context.write`. A plain
function may serve a method without streams; it runs in a thread, which a deadline cannot stop.
"""

from __future__ import annotations

import asyncio
import inspect
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from google.protobuf.message import DecodeError

from contracts.errors import Internal, InvalidRequest, Unimplemented

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    import grpc
    from google.protobuf.message import Message

    from contracts.method import Method
    from interceptors.server import Call, Proceed

    LookAt = Callable[[Call, Message], None]


class Messages:
    """Turns bytes into messages and back for one method, and shows each message to the interceptors that look at it."""

    def __init__(self, method: Method, *, on_request: Sequence[LookAt], on_response: Sequence[LookAt]) -> None:
        self._request_type = method.request_type
        self._response_type = method.response_type
        self._on_request = tuple(on_request)
        self._on_response = tuple(on_response)

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


def behaviour_of(handler: grpc.RpcMethodHandler[Any, Any]) -> Any:  # noqa: ANN401 - a handler of any shape
    """Return the function that serves the calls."""
    return handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream


def is_generated_default(behaviour: object) -> bool:
    """Tell whether nobody has written the handler: it is the one that protoc generates."""
    return str(getattr(behaviour, "__module__", "")).endswith("_pb2_grpc")


def innermost(method: Method, behaviour: Any, messages: Messages) -> Proceed:  # noqa: ANN401 - a handler of any shape
    """Return what stands at the inner end of the chain: from bytes through `behaviour` to bytes."""
    if is_generated_default(behaviour):
        return _refuse_unimplemented
    streaming = method.request_streaming or method.response_streaming
    if not _is_async(behaviour):
        if streaming:
            return _refuse_blocking_stream
        behaviour = partial(asyncio.to_thread, behaviour)
    if not streaming:
        return _unary(behaviour, messages)
    answer = _ANSWER[method.response_streaming, inspect.isasyncgenfunction(behaviour)]

    async def handle(call: Call) -> bytes | None:
        requests: Any = (
            messages.parse_each(call)
            if method.request_streaming
            else messages.parse(call, cast("bytes", call.incoming))
        )
        return await answer(behaviour(requests, StreamContext(call, messages)), call, messages)

    return handle


def _unary(behaviour: Any, messages: Messages) -> Proceed:  # noqa: ANN401 - a handler of one request and one answer
    parse, serialize = messages.parse, messages.serialize

    async def handle(call: Call) -> bytes:
        return serialize(call, await behaviour(parse(call, call.incoming), call.context))  # type: ignore[arg-type]  # bytes, as nothing is streamed

    return handle


def _is_async(behaviour: Any) -> bool:  # noqa: ANN401 - a handler of any shape
    return inspect.iscoroutinefunction(behaviour) or inspect.isasyncgenfunction(behaviour)


async def _refuse_unimplemented(call: Call) -> bytes | None:
    raise Unimplemented(f"{call.method.full_name} is in the contract, but no service answers it yet.")


async def _refuse_blocking_stream(call: Call) -> bytes | None:
    raise Internal(f"the handler of {call.method.full_name} serves a stream and must be async")


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


# By (answers are streamed, the handler is an async generator).
_ANSWER: dict[tuple[bool, bool], Callable[[Any, Call, Messages], Awaitable[bytes | None]]] = {
    (False, False): _answer_one,
    (True, False): _answer_written,
    (True, True): _answer_yielded,
}
