"""Innermost part of the chain: parses requests, runs the handler, and serializes responses.

A handler is a coroutine function or an async generator function. A coroutine function may use `context.read` and
`context.write`. A plain function may serve a method without streams; it runs in a thread, which a deadline cannot stop.

A handler rejects a call by raising, or by `context.set_code` as in gRPC; its response is then discarded. No frame of
this module holds a request in a local variable while an error passes, because some tools print the local variables of a
traceback.
"""

from __future__ import annotations

import asyncio
import inspect
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from grpc_interceptor.exceptions import GrpcException

from contracts.errors import Internal, InvalidRequest, ServiceError, Unimplemented
from contracts.service_error import status_of_number
from interceptors.chain.handler_contexts import BlockingContext, StreamContext

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from google.protobuf.message import Message

    from contracts.method import Method
    from interceptors.chain.server import Call, Proceed

    LookAt = Callable[[Call, Message], None]


class StatusSet(Exception):
    """Status that a handler has set on its context, raised to end the call."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        self.code = code
        self.details = details
        super().__init__(f"{code.name}: {details}")


class Messages:
    """Parser and serializer of one method's messages, which also passes each message to the interceptors' hooks."""

    def __init__(self, method: Method, *, on_request: Sequence[LookAt], on_response: Sequence[LookAt]) -> None:
        self._request_type = method.request_type
        self._response_type = method.response_type
        self._on_request = tuple(on_request)
        self._on_response = tuple(on_response)

    def parse(self, call: Call, raw: bytes) -> Message:
        """Return the request in `raw`; raise InvalidRequest if it is malformed, or the error of a hook."""
        message = None
        refusal: ServiceError | None
        try:
            message = self._request_type.FromString(raw)
        except DecodeError:
            refusal = InvalidRequest("The request is not a well-formed message of its type.")
        else:
            refusal = _refusal_of(call, message, self._on_request)
            if refusal is None:
                return message
        del raw, message
        raise refusal

    async def parse_each(self, call: Call) -> AsyncIterator[Message]:
        """Yield the parsed requests of a stream."""
        async for raw in cast("AsyncIterator[bytes]", call.incoming):
            waiting = [raw]
            del raw
            yield self.parse(call, waiting.pop())

    def serialize(self, call: Call, message: object) -> bytes:
        """Return a response as bytes; raise Internal if its type is wrong, or the error of a hook."""
        if not isinstance(message, self._response_type):
            kind = type(message).__name__
            del message
            raise Internal(f"the handler returned {kind}, not {self._response_type.__name__}")
        refusal = _refusal_of(call, message, self._on_response)
        if refusal is None:
            return message.SerializeToString()
        del message
        raise refusal


def _refusal_of(call: Call, message: Message, look_at_each: Sequence[LookAt]) -> ServiceError | None:
    """Return the first error that a hook raises for `message`, without the frames that hold the message."""
    try:
        for look_at in look_at_each:
            look_at(call, message)
    except ServiceError as refusal:
        return refusal.with_traceback(None)
    return None


def behaviour_of(handler: grpc.RpcMethodHandler[Any, Any]) -> Any:  # noqa: ANN401 - a handler of any shape
    """Return the function that serves the calls of `handler`."""
    return handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream


def is_generated_default(behaviour: object) -> bool:
    """Return whether the handler is the default one that protoc generates."""
    return str(getattr(behaviour, "__module__", "")).endswith("_pb2_grpc")


def innermost(method: Method, behaviour: Any, messages: Messages) -> Proceed:  # noqa: ANN401 - a handler of any shape
    """Return the inner end of the chain: parse the request, run `behaviour`, serialize the response."""
    if is_generated_default(behaviour):
        return _refuse_unimplemented
    streaming = method.request_streaming or method.response_streaming
    if not _is_async(behaviour):
        if streaming:
            return _refuse_blocking_stream
        behaviour = partial(_in_thread, behaviour)
    return _stream(method, behaviour, messages) if streaming else _unary(behaviour, messages)


def _unary(behaviour: Any, messages: Messages) -> Proceed:  # noqa: ANN401 - a unary handler
    parse, serialize = messages.parse, messages.serialize

    async def handle(call: Call) -> bytes:
        try:
            return serialize(call, _checked(await behaviour(parse(call, call.incoming), call.context), call.context))  # type: ignore[arg-type]  # bytes, as nothing is streamed
        except BaseExceptionGroup as group:
            error = answerable_in(group)
            if error is None:
                raise
        # Raise outside of `except`, so that the group, which holds the error, does not become the error's context.
        raise error

    return handle


def _stream(method: Method, behaviour: Any, messages: Messages) -> Proceed:  # noqa: ANN401 - a handler of any streaming shape
    requests: Callable[[Call], Any] = (
        messages.parse_each
        if method.request_streaming
        else lambda call: messages.parse(call, cast("bytes", call.incoming))
    )
    answer = _ANSWER[method.response_streaming, inspect.isasyncgenfunction(behaviour)]

    async def handle(call: Call) -> bytes | None:
        context = StreamContext(call, messages)
        try:
            return await answer(behaviour(requests(call), context), context, messages)
        except BaseExceptionGroup as group:
            error = answerable_in(group)
            if error is None:
                raise
        raise error

    return handle


def answerable_in(group: BaseExceptionGroup[Any]) -> Exception | None:
    """Return the first error of a group, at any depth, if every error in it has a response of its own.

    Return None if the group holds a fault. `asyncio.TaskGroup` raises such groups and lists errors in the order in
    which they were raised.
    """
    first: Exception | None = None
    for each in group.exceptions:
        error = answerable_in(each) if isinstance(each, BaseExceptionGroup) else each
        if not isinstance(error, _ANSWERABLE):
            return None
        first = first or error
    return first


_ANSWERABLE = (ServiceError, GrpcException, grpc.aio.AbortError)


def _checked(answer: object, context: Any) -> object:  # noqa: ANN401 - of either engine
    """Return `answer`; raise StatusSet if the handler has set a status instead."""
    code = status_set_on(context)
    if code is grpc.StatusCode.OK:
        return answer
    del answer
    raise StatusSet(code, text_of_details(context))


def status_set_on(context: Any) -> grpc.StatusCode:  # noqa: ANN401 - of either engine
    """Return the status that a handler has set on its context; OK if it has set none."""
    code = context.code()
    if code is None:
        return grpc.StatusCode.OK
    # grpc.aio returns the value as it was set, and accepts numbers too.
    return code if isinstance(code, grpc.StatusCode) else status_of_number(code)


def text_of_details(context: Any) -> str:  # noqa: ANN401 - of either engine
    """Return the message that a handler has set on its context; empty if it has set none."""
    # grpc.aio declares bytes but returns text.
    details: str | bytes | None = context.details()
    return details.decode() if isinstance(details, bytes) else details or ""


async def _in_thread(behaviour: Any, request: Any, context: Any) -> object:  # noqa: ANN401 - a unary handler
    return await asyncio.to_thread(behaviour, request, BlockingContext(context, asyncio.get_running_loop()))


def _is_async(behaviour: Any) -> bool:  # noqa: ANN401 - a handler of any shape
    return inspect.iscoroutinefunction(behaviour) or inspect.isasyncgenfunction(behaviour)


async def _refuse_unimplemented(call: Call) -> bytes | None:
    raise Unimplemented(f"{call.method.full_name} is in the contract, but no service implements it yet.")


async def _refuse_blocking_stream(call: Call) -> bytes | None:
    raise Internal(f"the handler of {call.method.full_name} serves a stream and must be async")


async def _answer_one(answering: Awaitable[object], context: StreamContext, messages: Messages) -> bytes | None:
    return messages.serialize(context.call, _checked(await answering, context))


async def _answer_written(writing: Awaitable[None], context: StreamContext, _messages: Messages) -> bytes | None:
    await writing
    _checked(None, context)
    return None


async def _answer_yielded(answers: Any, context: StreamContext, messages: Messages) -> bytes | None:  # noqa: ANN401 - an async generator
    call = context.call
    async with aclosing(answers):
        async for message in answers:
            if not context.has_begun:
                await context.begin()
            waiting = [message]
            del message
            await call.context.write(messages.serialize(call, waiting.pop()))
    _checked(None, context)
    return None


# Keyed by (response streaming, handler is an async generator).
_ANSWER: dict[tuple[bool, bool], Callable[[Any, StreamContext, Messages], Awaitable[bytes | None]]] = {
    (False, False): _answer_one,
    (True, False): _answer_written,
    (True, True): _answer_yielded,
}
