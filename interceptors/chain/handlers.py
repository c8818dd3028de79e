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
from grpc_interceptor.exceptions import GrpcException

from contracts.errors import Internal, ServiceError, Unimplemented
from interceptors.chain.handler_contexts import BlockingContext, StreamContext
from interceptors.chain.handler_status import StatusSet, status_set_on, text_of_details

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from contracts.method import Method
    from interceptors.chain.call import Call, Proceed
    from interceptors.chain.messages import Messages
    from interceptors.chain.untyped import AnyContext, AnyMessage, HandlerFunction


def behaviour_of(handler: grpc.RpcMethodHandler[Any, Any]) -> HandlerFunction:
    """Return the function that serves the calls of `handler`."""
    return handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream


def is_generated_default(behaviour: object) -> bool:
    """Return whether the handler is the default one that protoc generates."""
    return str(getattr(behaviour, "__module__", "")).endswith("_pb2_grpc")


def innermost(method: Method, behaviour: HandlerFunction, messages: Messages) -> Proceed:
    """Return the inner end of the chain: parse the request, run `behaviour`, serialize the response."""
    if is_generated_default(behaviour):
        return _refuse_unimplemented
    streaming = method.request_streaming or method.response_streaming
    if not _is_async(behaviour):
        if streaming:
            return _refuse_blocking_stream
        behaviour = partial(_in_thread, behaviour)
    return _stream(method, behaviour, messages) if streaming else _unary(behaviour, messages)


def _unary(behaviour: HandlerFunction, messages: Messages) -> Proceed:
    parse, serialize = messages.parse, messages.serialize

    async def handle(call: Call) -> bytes:
        context = call.servicer_context
        try:
            return serialize(call, _checked(await behaviour(parse(call, call.incoming), context), context))  # type: ignore[arg-type]  # bytes, as nothing is streamed
        except BaseExceptionGroup as group:
            error = answerable_in(group)
            if error is None:
                raise
        # Raise outside of `except`, so that the group, which holds the error, does not become the error's context.
        raise error

    return handle


def _stream(method: Method, behaviour: HandlerFunction, messages: Messages) -> Proceed:
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


def _checked(answer: object, context: AnyContext) -> object:
    """Return `answer`; raise StatusSet if the handler has set a status instead."""
    code = status_set_on(context)
    if code is grpc.StatusCode.OK:
        return answer
    del answer
    raise StatusSet(code, text_of_details(context))


async def _in_thread(behaviour: HandlerFunction, request: AnyMessage, context: AnyContext) -> object:
    return await asyncio.to_thread(behaviour, request, BlockingContext(context, asyncio.get_running_loop()))


def _is_async(behaviour: HandlerFunction) -> bool:
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


async def _answer_yielded(answers: AnyMessage, context: StreamContext, messages: Messages) -> bytes | None:
    call = context.call
    async with aclosing(answers):
        async for message in answers:
            if not context.has_begun:
                await context.begin()
            waiting = [message]
            del message
            await call.servicer_context.write(messages.serialize(call, waiting.pop()))
    _checked(None, context)
    return None


# Keyed by (response streaming, handler is an async generator).
_ANSWER: dict[tuple[bool, bool], Callable[[Any, StreamContext, Messages], Awaitable[bytes | None]]] = {
    (False, False): _answer_one,
    (True, False): _answer_written,
    (True, True): _answer_yielded,
}
