"""Handlers: the innermost of the chain, which parses requests, runs a handler of whatever kind, and serializes answers.

A handler is a coroutine, an async generator, or a coroutine that uses `context.read` and `context.write`. A plain
function may serve a method without streams; it runs in a thread, which a deadline cannot stop.

A handler refuses a call by raising, or by `context.set_code`, as gRPC has it: then its answer is discarded. No frame of
this module keeps a request in a local variable while an error passes, because tools print those of a traceback.
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
from interceptors.handler_contexts import BlockingContext, StreamContext

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from google.protobuf.message import Message

    from contracts.method import Method
    from interceptors.server import Call, Proceed

    LookAt = Callable[[Call, Message], None]


class StatusSet(Exception):
    """A handler has set a status on its context, which is the end of its call."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        self.code = code
        self.details = details
        super().__init__(f"{code.name}: {details}")


class Messages:
    """Turns bytes into messages and back for one method, and shows each message to the interceptors that look at it."""

    def __init__(self, method: Method, *, on_request: Sequence[LookAt], on_response: Sequence[LookAt]) -> None:
        self._request_type = method.request_type
        self._response_type = method.response_type
        self._on_request = tuple(on_request)
        self._on_response = tuple(on_response)

    def parse(self, call: Call, raw: bytes) -> Message:
        """Return the request in `raw`; raise InvalidRequest where the bytes are none, or an interceptor refuses it."""
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
        """Yield the requests of a stream."""
        async for raw in cast("AsyncIterator[bytes]", call.incoming):
            waiting = [raw]
            del raw
            yield self.parse(call, waiting.pop())

    def serialize(self, call: Call, message: object) -> bytes:
        """Return an answer as bytes; raise Internal where the handler answers with another type."""
        if not isinstance(message, self._response_type):
            kind = type(message).__name__
            del message
            raise Internal(f"the handler answered with {kind}, not {self._response_type.__name__}")
        refusal = _refusal_of(call, message, self._on_response)
        if refusal is None:
            return message.SerializeToString()
        del message
        raise refusal


def _refusal_of(call: Call, message: Message, look_at_each: Sequence[LookAt]) -> ServiceError | None:
    """Return the error of the first interceptor that refuses `message`, without the frames that hold the message."""
    try:
        for look_at in look_at_each:
            look_at(call, message)
    except ServiceError as refusal:
        return refusal.with_traceback(None)
    return None


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
        behaviour = partial(_in_thread, behaviour)
    return _stream(method, behaviour, messages) if streaming else _unary(behaviour, messages)


def _unary(behaviour: Any, messages: Messages) -> Proceed:  # noqa: ANN401 - a handler of one request and one answer
    parse, serialize = messages.parse, messages.serialize

    async def handle(call: Call) -> bytes:
        try:
            return serialize(call, _checked(await behaviour(parse(call, call.incoming), call.context), call.context))  # type: ignore[arg-type]  # bytes, as nothing is streamed
        except BaseExceptionGroup as group:
            error = answerable_in(group)
            if error is None:
                raise
        # Outside of `except`, or the error would become a part of its own context.
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
    """Return the error that answers for a group: its first, at any depth, if each of them has an answer of its own.

    Returns None where the group holds a fault. Handlers get such groups from `asyncio.TaskGroup`, which lists errors in
    the order in which they were raised.
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
    """Return `answer`; raise StatusSet where the handler has set a status in its place."""
    code = status_set_on(context)
    if code is grpc.StatusCode.OK:
        return answer
    del answer
    raise StatusSet(code, text_of_details(context))


def status_set_on(context: Any) -> grpc.StatusCode:  # noqa: ANN401 - of either engine
    """Return the status that a handler has set on its context; OK where it has set none."""
    code = context.code()
    if code is None:
        return grpc.StatusCode.OK
    # As it was set: grpc.aio takes numbers too.
    return code if isinstance(code, grpc.StatusCode) else status_of_number(code)


def text_of_details(context: Any) -> str:  # noqa: ANN401 - of either engine
    """Return the sentence that a handler has set on its context; empty where it has set none."""
    # Where grpc.aio's types promise bytes, it gives text.
    details: str | bytes | None = context.details()
    return details.decode() if isinstance(details, bytes) else details or ""


async def _in_thread(behaviour: Any, request: Any, context: Any) -> object:  # noqa: ANN401 - a handler of one request and one answer
    return await asyncio.to_thread(behaviour, request, BlockingContext(context, asyncio.get_running_loop()))


def _is_async(behaviour: Any) -> bool:  # noqa: ANN401 - a handler of any shape
    return inspect.iscoroutinefunction(behaviour) or inspect.isasyncgenfunction(behaviour)


async def _refuse_unimplemented(call: Call) -> bytes | None:
    raise Unimplemented(f"{call.method.full_name} is in the contract, but no service answers it yet.")


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


# By (answers are streamed, the handler is an async generator).
_ANSWER: dict[tuple[bool, bool], Callable[[Any, StreamContext, Messages], Awaitable[bytes | None]]] = {
    (False, False): _answer_one,
    (True, False): _answer_written,
    (True, True): _answer_yielded,
}
