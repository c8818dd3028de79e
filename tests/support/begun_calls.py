"""Calls of the echo service that have begun and not ended, in each shape and style, and waits for their end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from solo60.example.v1 import echo_pb2
from tests.support.call_shapes import HI
from tests.support.eventually import TIMEOUT_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from interceptors.chain.untyped import AnyCall
    from solo60.example.v1.echo_pb2_grpc import EchoServiceAsyncStub


async def endless_requests() -> AsyncIterator[echo_pb2.EchoJoinedRequest]:
    """Yield one message and never end."""
    yield echo_pb2.EchoJoinedRequest(text="hi")
    await asyncio.Event().wait()


def begin_unary(stub: EchoServiceAsyncStub) -> AnyCall:
    """Begin a call with one message each way."""
    return stub.Echo(HI)


def begin_server_stream(stub: EchoServiceAsyncStub) -> AnyCall:
    """Begin a call with many answers."""
    return stub.EchoMany(echo_pb2.EchoManyRequest(text="hi", repeat=3))


def begin_client_stream(stub: EchoServiceAsyncStub) -> AnyCall:
    """Begin a call with many requests."""
    return stub.EchoJoined(endless_requests())


def begin_both_streams(stub: EchoServiceAsyncStub) -> AnyCall:
    """Begin a call with many messages each way."""
    return stub.EchoEach(echo_pb2.EchoEachRequest(text=each.text) async for each in endless_requests())


def begin_written_streams(stub: EchoServiceAsyncStub) -> AnyCall:
    """Begin a call that writes and reads its messages one by one."""
    return stub.EchoEach()


each_begun_shape = pytest.mark.parametrize(
    "begin", [begin_unary, begin_server_stream, begin_client_stream, begin_both_streams, begin_written_streams]
)


async def wait_for_end(call: AnyCall) -> None:
    """Wait for the end of a call; raise its error if the call fails."""
    if hasattr(call, "__aiter__"):
        await call.read()
    else:
        await call


async def until_ended(tasks: set[asyncio.Task[Any]]) -> None:
    """Wait until all given tasks except the current one have ended by themselves."""
    tasks -= {asyncio.current_task()}
    if tasks:
        _, still = await asyncio.wait(tasks, timeout=TIMEOUT_S)
        assert still == set()
