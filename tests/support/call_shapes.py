"""Calls of the echo service in each of the four shapes, and a stub for calls that fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from solo60.example.v1 import echo_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from solo60.example.v1.echo_pb2_grpc import EchoServiceAsyncStub
    from tests.support.echo_server import EchoServer

    Shape = Callable[[EchoServiceAsyncStub], Awaitable[object]]

HI = echo_pb2.EchoRequest(text="hi")


async def many_requests(count: int = 3) -> AsyncIterator[echo_pb2.EchoEachRequest]:
    """Yield messages, more than a server reads if it rejects at once."""
    for number in range(count):
        yield echo_pb2.EchoEachRequest(text=str(number))


async def unary(stub: EchoServiceAsyncStub) -> object:
    """Call with one message each way."""
    return await stub.Echo(HI)


async def server_stream(stub: EchoServiceAsyncStub) -> object:
    """Call with many answers."""
    return [answer async for answer in stub.EchoMany(echo_pb2.EchoManyRequest(text="hi", repeat=2))]


async def client_stream(stub: EchoServiceAsyncStub) -> object:
    """Call with many requests."""
    return await stub.EchoJoined(echo_pb2.EchoJoinedRequest(text=each.text) async for each in many_requests())


async def both_streams(stub: EchoServiceAsyncStub) -> object:
    """Call with many messages each way."""
    return [answer async for answer in stub.EchoEach(many_requests())]


each_shape = pytest.mark.parametrize("call", [unary, server_stream, client_stream, both_streams])


def raising(echo: EchoServer, error: BaseException) -> EchoServiceAsyncStub:
    """Make every handler raise `error`, and return a stub."""

    async def hook() -> None:
        raise error

    echo.servicer.hook = hook
    return echo.stub()
