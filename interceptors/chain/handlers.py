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
from interceptors.chain.handler_status import HandlerStatus, status_set_on, text_of_details

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from contracts.method import Method
    from interceptors.chain.call import Call, Proceed
    from interceptors.chain.messages import Messages
    from interceptors.chain.untyped import AnyContext, AnyMessage, HandlerFunction


# Suffix of the modules that protoc generates for services.
GENERATED_SUFFIX = "_pb2_grpc"

# Keyed by (request streaming, response streaming). Without (de)serializers, gRPC's core passes bytes through.
HANDLER_FACTORIES: dict[tuple[bool, bool], Callable[..., grpc.RpcMethodHandler[Any, Any]]] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


def handler_function(handler: grpc.RpcMethodHandler[Any, Any]) -> HandlerFunction:
    """Return the function that serves the calls of `handler`."""
    return handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream


def is_generated_default(function: object) -> bool:
    """Return whether the handler is the default one that protoc generates."""
    return str(getattr(function, "__module__", "")).endswith(GENERATED_SUFFIX)


def handler_end(method: Method, function: HandlerFunction, messages: Messages) -> Proceed:
    """Return the inner end of the chain: parse the request, run `function`, serialize the response."""
    if is_generated_default(function):
        return _reject_unimplemented
    streaming = method.request_streaming or method.response_streaming
    if not _is_async(function):
        if streaming:
            return _reject_blocking_stream
        function = partial(_in_thread, function)
    return _stream(method, function, messages) if streaming else _unary(function, messages)


def _unary(function: HandlerFunction, messages: Messages) -> Proceed:
    parse, serialize = messages.parse, messages.serialize

    async def handle(call: Call) -> bytes:
        context: AnyContext = call.servicer_context
        try:
            response = await function(parse(call, call.incoming), context)  # type: ignore[arg-type]  # bytes, as nothing is streamed
            if context.code():  # None and 0 both mean OK
                response = _checked(response, context)
            return serialize(call, response)
        except BaseExceptionGroup as group:
            error = first_error_in(group)
            if error is None:
                raise
        # Raise outside of `except`, so that the group, which holds the error, does not become the error's context.
        raise error

    return handle


def _stream(method: Method, function: HandlerFunction, messages: Messages) -> Proceed:
    requests: Callable[[Call], Any] = (
        messages.parse_each
        if method.request_streaming
        else lambda call: messages.parse(call, cast("bytes", call.incoming))
    )
    respond = _RESPONDERS[method.response_streaming, inspect.isasyncgenfunction(function)]

    async def handle(call: Call) -> bytes | None:
        context = StreamContext(call, messages)
        try:
            return await respond(function(requests(call), context), context, messages)
        except BaseExceptionGroup as group:
            error = first_error_in(group)
            if error is None:
                raise
        raise error

    return handle


def first_error_in(group: BaseExceptionGroup[Any]) -> Exception | None:
    """Return the first error of a group, at any depth, if every error in it has a response of its own.

    Return None if the group contains a fault. `asyncio.TaskGroup` raises such groups and lists errors in the order in
    which they were raised.
    """
    first: Exception | None = None
    for each in group.exceptions:
        error = first_error_in(each) if isinstance(each, BaseExceptionGroup) else each
        if not isinstance(error, _EXPECTED_ERRORS):
            return None
        first = first or error
    return first


_EXPECTED_ERRORS = (ServiceError, GrpcException, grpc.aio.AbortError)


def _checked(response: object, context: AnyContext) -> object:
    """Return `response`; raise HandlerStatus if the handler has set a status instead."""
    code = status_set_on(context)
    if code is grpc.StatusCode.OK:
        return response
    del response
    raise HandlerStatus(code, text_of_details(context))


async def _in_thread(function: HandlerFunction, request: AnyMessage, context: AnyContext) -> object:
    return await asyncio.to_thread(function, request, BlockingContext(context, asyncio.get_running_loop()))


def _is_async(function: HandlerFunction) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


async def _reject_unimplemented(call: Call) -> bytes | None:
    raise Unimplemented(f"{call.method.full_name} is in the contract, but no service implements it yet.")


async def _reject_blocking_stream(call: Call) -> bytes | None:
    raise Internal(f"The handler of {call.method.full_name} serves a stream and must be async.")


async def _respond_once(responding: Awaitable[object], context: StreamContext, messages: Messages) -> bytes | None:
    return messages.serialize(context.call, _checked(await responding, context))


async def _await_writes(writing: Awaitable[None], context: StreamContext, _messages: Messages) -> bytes | None:
    await writing
    _checked(None, context)
    return None


async def _write_yielded(responses: AnyMessage, context: StreamContext, messages: Messages) -> bytes | None:
    call = context.call
    async with aclosing(responses):
        async for message in responses:
            if not context.has_sent_metadata:
                await context.send_metadata()
            holder = [message]
            del message
            await call.servicer_context.write(messages.serialize(call, holder.pop()))
    _checked(None, context)
    return None


# Keyed by (response streaming, handler is an async generator).
_RESPONDERS: dict[tuple[bool, bool], Callable[[Any, StreamContext, Messages], Awaitable[bytes | None]]] = {
    (False, False): _respond_once,
    (True, False): _await_writes,
    (True, True): _write_yielded,
}
