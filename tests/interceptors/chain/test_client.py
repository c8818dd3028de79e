from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING

import grpc.aio
import pytest

from contracts.errors import Cancelled, ServiceError, SlotTaken
from interceptors.chain.channel import ChainedChannel
from interceptors.chain.client import ClientCall, ClientInterceptor
from solo60.example.v1 import echo_pb2
from solo60.example.v1.echo_pb2_grpc import EchoServiceStub
from tests.support.echo_server import Endless

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from contracts.method import Method
    from interceptors.chain.client import ClientFinish, ClientStart
    from solo60.example.v1.echo_pb2_grpc import EchoServiceAsyncStub
    from tests.support.echo_server import EchoServer


class Listener(ClientInterceptor):
    """Interceptor that records the trailing metadata of each ended call."""

    def __init__(self, key: str) -> None:
        self._key = key
        self.received: list[Mapping[str, str | bytes]] = []
        self.ended = asyncio.Event()

    def start(self, call: ClientCall) -> ClientFinish:
        call.metadata.append(("x-api-key", self._key))

        def finish(_call: ClientCall, _error: BaseException | None) -> None:
            self.received.append(call.trailing)
            self.ended.set()

        return finish


@pytest.fixture
def listener(echo: EchoServer) -> Listener:
    """Return a listener with the key that the server accepts."""
    return Listener(echo.key)


@pytest.fixture
async def stub(echo: EchoServer, listener: Listener) -> AsyncIterator[EchoServiceAsyncStub]:
    """Return a stub that calls through `listener` alone."""
    async with ChainedChannel(grpc.aio.insecure_channel(echo.address), [listener]) as channel:
        yield EchoServiceStub(channel)


async def call_in_shape(stub: EchoServiceAsyncStub, shape: str) -> None:
    """Make a call of the shape, to its end."""
    if shape == "Echo":
        await stub.Echo(echo_pb2.EchoRequest(text="hi"))
    elif shape == "EchoMany":
        assert [each async for each in stub.EchoMany(echo_pb2.EchoManyRequest(text="hi", repeat=1))]
    elif shape == "EchoJoined":
        await stub.EchoJoined(iter([echo_pb2.EchoJoinedRequest(text="hi")]))
    else:
        assert [each async for each in stub.EchoEach(iter([echo_pb2.EchoEachRequest(text="hi")]))]


each_shape = pytest.mark.parametrize("shape", ["Echo", "EchoMany", "EchoJoined", "EchoEach"])


@each_shape
async def test_an_interceptor_gets_the_trailing_metadata_of_an_answer(
    stub: EchoServiceAsyncStub, listener: Listener, shape: str
) -> None:
    """An interceptor gets the trailing metadata of a successful call of each shape."""
    await call_in_shape(stub, shape)

    await listener.ended.wait()
    assert len(str(listener.received[0]["x-correlation-id"])) == 32


@each_shape
async def test_an_interceptor_gets_the_trailing_metadata_of_an_error(
    echo: EchoServer, stub: EchoServiceAsyncStub, listener: Listener, shape: str
) -> None:
    """An interceptor gets the trailing metadata of a failed call of each shape, with the details of the error."""

    async def hook() -> None:
        raise SlotTaken

    echo.servicer.hook = hook
    with pytest.raises(ServiceError):
        await call_in_shape(stub, shape)

    await listener.ended.wait()
    assert "grpc-status-details-bin" in listener.received[0]


async def test_a_cancelled_call_has_no_trailing_metadata(
    echo: EchoServer, stub: EchoServiceAsyncStub, listener: Listener
) -> None:
    """A call that its caller cancels has empty trailing metadata."""
    echo.servicer.hook = endless = Endless()
    call = asyncio.ensure_future(stub.Echo(echo_pb2.EchoRequest(text="hi")))
    await endless.entered.wait()

    call.cancel()

    with pytest.raises((asyncio.CancelledError, Cancelled)):
        await call
    await listener.ended.wait()
    assert listener.received == [{}]


async def test_an_answered_call_leaves_no_reference_cycle(echo: EchoServer) -> None:
    """An answered call is freed without the garbage collector, because no reference cycle holds it."""
    stub = echo.stub()
    gc.collect()
    before = client_calls()  # calls of other tests that may still be referenced
    gc.disable()
    try:
        for _ in range(20):
            await stub.Echo(echo_pb2.EchoRequest(text="hi"))
        left = client_calls() - before
    finally:
        gc.enable()

    assert left <= 1  # the last call may not have been freed yet


def client_calls() -> int:
    """Return the number of live client calls."""
    return sum(isinstance(each, ClientCall) for each in gc.get_objects())


class PerMethod(ClientInterceptor):
    """Interceptor that records each call of `start_of`, and the start and end of each call."""

    def __init__(self) -> None:
        self.record: list[str] = []

    def start_of(self, method: Method) -> ClientStart:
        self.record.append(f"start_of {method.name}")

        def start(call: ClientCall) -> ClientFinish:
            self.record.append(f"starts {call.method.name}")
            return lambda _call, error: self.record.append(f"ends with {error}")

        return start


async def test_start_of_runs_once_per_method_of_a_stub(echo: EchoServer) -> None:
    """A stub calls `start_of` once per method, and the returned function for every call."""
    interceptor, key = PerMethod(), (("x-api-key", echo.key),)
    async with ChainedChannel(grpc.aio.insecure_channel(echo.address), [interceptor]) as channel:
        call = channel.unary_unary("/solo60.example.v1.EchoService/Echo", echo_pb2.EchoRequest.SerializeToString)
        await call(echo_pb2.EchoRequest(text="hi"), metadata=key)
        await call(echo_pb2.EchoRequest(text="hi"), metadata=key)

    assert interceptor.record == ["start_of Echo", *["starts Echo", "ends with None"] * 2]
