"""Calls of the echo service in each state, in each shape and both styles of grpc.aio."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc.aio

from solo60.example.v1 import echo_pb2
from tests.support.echo import do_nothing
from tests.support.echo_server import Endless

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from google.protobuf.message import Message

    from tests.support.echo_server import EchoServer

    Action = Callable[[Any], Awaitable[object]]

ONE_JOINED, ONE_EACH = echo_pb2.EchoJoinedRequest(text="hi"), echo_pb2.EchoEachRequest(text="hi")
SHORT_S = 0.05


class RequestIterator:
    """Iterator with one request. Unless that request is the last, the iterator then waits without end."""

    def __init__(self, request: Message, *, last: bool) -> None:
        self._request = request
        self._is_last = last
        self.ended = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[Message]:
        try:
            yield self._request
            if not self._is_last:
                await asyncio.Event().wait()
        finally:
            self.ended.set()


class CallShape:
    """Shape of an RPC, in one of grpc.aio's two styles."""

    def __init__(self, method: str, request: Message, *, many: bool = False, iterated: bool = False) -> None:
        self.method = method
        self.request = request
        self.is_iterated = iterated
        self.is_written = many and not iterated

    def begin(self, stub: Any, *, last: bool = True, **options: Any) -> Any:
        """Begin a call. `last` ends an iterator of requests after the first one."""
        if self.is_written:
            return getattr(stub, self.method)(**options)
        request = RequestIterator(self.request, last=last) if self.is_iterated else self.request
        return getattr(stub, self.method)(request, **options)


SHAPES = {
    "unary": CallShape("Echo", echo_pb2.EchoRequest(text="hi")),
    "hedged": CallShape("EchoHedged", echo_pb2.EchoHedgedRequest(text="hi")),
    "answers": CallShape("EchoMany", echo_pb2.EchoManyRequest(text="hi", repeat=2)),
    "requests written": CallShape("EchoJoined", ONE_JOINED, many=True),
    "requests iterated": CallShape("EchoJoined", ONE_JOINED, many=True, iterated=True),
    "both written": CallShape("EchoEach", ONE_EACH, many=True),
    "both iterated": CallShape("EchoEach", ONE_EACH, many=True, iterated=True),
}


async def not_started(_echo: EchoServer, stub: Any, shape: CallShape, metadata: Any) -> Any:
    """Begin a call and return it at once."""
    return shape.begin(stub, last=False, metadata=metadata)


async def writing(echo: EchoServer, stub: Any, shape: CallShape, metadata: Any) -> Any:
    """Return a call in progress at the server, with more requests to come."""
    call = shape.begin(stub, last=False, metadata=metadata)
    if shape.is_written:
        await call.write(shape.request)
    await until_handler_waits(echo, call)
    return call


async def half_closed(echo: EchoServer, stub: Any, shape: CallShape, metadata: Any) -> Any:
    """Return a call in progress at the server, with all requests sent."""
    call = shape.begin(stub, metadata=metadata)
    if shape.is_written:
        await call.write(shape.request)
        await call.done_writing()
    await until_handler_waits(echo, call)
    return call


async def cancelled(echo: EchoServer, stub: Any, shape: CallShape, metadata: Any) -> Any:
    """Cancel a call in progress at the server."""
    call = await writing(echo, stub, shape, metadata)
    call.cancel()
    await call.code()
    return call


async def expired(_echo: EchoServer, stub: Any, shape: CallShape, metadata: Any) -> Any:
    """Let a call expire at a silent server, because an answering server might end the call first."""
    call = shape.begin(stub, last=False, metadata=metadata, timeout=SHORT_S)
    await call.code()
    return call


async def succeeded(echo: EchoServer, stub: Any, shape: CallShape, metadata: Any) -> Any:
    """Return a call that succeeded."""
    echo.servicer.hook = do_nothing
    call = shape.begin(stub, metadata=metadata)
    if shape.is_written:
        await call.write(shape.request)
        await call.done_writing()
    if hasattr(call, "read") and shape.is_iterated:
        assert [each async for each in call] != []
    elif hasattr(call, "read"):
        while await call.read() is not grpc.aio.EOF:
            pass
    await call.code()
    return call


async def failed(echo: EchoServer, stub: Any, shape: CallShape, metadata: Any) -> Any:
    """Return a call that failed."""
    echo.servicer.hook = fail
    call = shape.begin(stub, last=False, metadata=metadata)
    await call.code()
    return call


async def fail() -> None:
    """Fail like a handler with a bug."""
    raise ValueError("a bug")


STATES = (not_started, writing, half_closed, cancelled, expired, succeeded, failed)


async def until_handler_waits(echo: EchoServer, call: Any) -> None:
    """Wait until a call is sent and its handler waits in its hook."""
    if isinstance(call, grpc.aio.StreamUnaryCall | grpc.aio.StreamStreamCall):  # other calls are sent when they begin
        await call.wait_for_connection()
    hook = echo.servicer.hook
    assert isinstance(hook, Endless)
    await hook.entered.wait()
