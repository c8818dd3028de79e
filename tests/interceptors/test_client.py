from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING

import grpc.aio
import pytest

from contracts.errors import Cancelled, ServiceError, SlotTaken
from interceptors.chained_channel import ChainedChannel
from interceptors.client import ClientCall, ClientInterceptor
from solo60.example.v1 import echo_pb2
from solo60.example.v1.echo_pb2_grpc import EchoServiceStub
from tests.support.echo_server import Endless

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from interceptors.client import Finish
    from solo60.example.v1.echo_pb2_grpc import EchoServiceAsyncStub
    from tests.support.echo_server import EchoServer


class Listener(ClientInterceptor):
    """Keeps the trailing metadata of each call that has ended."""

    def __init__(self, key: str) -> None:
        self._key = key
        self.heard: list[Mapping[str, str | bytes]] = []
        self.ended = asyncio.Event()

    def start(self, call: ClientCall) -> Finish:
        call.metadata.append(("x-api-key", self._key))

        def finish(_error: BaseException | None) -> None:
            self.heard.append(call.trailing)
            self.ended.set()

        return finish


@pytest.fixture
def listener(echo: EchoServer) -> Listener:
    """Listen with the key that the server accepts."""
    return Listener(echo.key)


@pytest.fixture
async def stub(echo: EchoServer, listener: Listener) -> AsyncIterator[EchoServiceAsyncStub]:
    """Call through `listener` alone."""
    async with ChainedChannel(grpc.aio.insecure_channel(echo.address), [listener]) as channel:
        yield EchoServiceStub(channel)


async def call_in_shape(stub: EchoServiceAsyncStub, shape: str) -> None:
    """Make one call of the shape, to its end."""
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
async def test_an_interceptor_reads_the_trailing_metadata_of_an_answer(
    stub: EchoServiceAsyncStub, listener: Listener, shape: str
) -> None:
    """Once the call has ended, in each of the four shapes."""
    await call_in_shape(stub, shape)

    await listener.ended.wait()
    assert len(str(listener.heard[0]["x-correlation-id"])) == 32


@each_shape
async def test_an_interceptor_reads_the_trailing_metadata_of_a_refusal(
    echo: EchoServer, stub: EchoServiceAsyncStub, listener: Listener, shape: str
) -> None:
    """As it came, the details of the error among it."""

    async def hook() -> None:
        raise SlotTaken

    echo.servicer.hook = hook  # type: ignore[method-assign]  # what the hook is for
    with pytest.raises(ServiceError):
        await call_in_shape(stub, shape)

    await listener.ended.wait()
    assert "grpc-status-details-bin" in listener.heard[0]


async def test_a_call_that_got_no_answer_has_no_trailing_metadata(
    echo: EchoServer, stub: EchoServiceAsyncStub, listener: Listener
) -> None:
    """A caller that gives up hears nothing of the server any more."""
    echo.servicer.hook = endless = Endless()  # type: ignore[method-assign]  # what the hook is for
    call = asyncio.ensure_future(stub.Echo(echo_pb2.EchoRequest(text="hi")))
    await endless.entered.wait()

    call.cancel()

    with pytest.raises((asyncio.CancelledError, Cancelled)):
        await call
    await listener.ended.wait()
    assert listener.heard == [{}]


async def test_a_call_that_was_answered_leaves_nothing_to_collect(echo: EchoServer) -> None:
    """What holds itself would hold the answer and gRPC's call too, until the collector comes by."""
    stub = echo.stub()
    gc.collect()
    before = client_calls()  # of other tests, which something may still hold
    gc.disable()
    try:
        for _ in range(20):
            await stub.Echo(echo_pb2.EchoRequest(text="hi"))
        left = client_calls() - before
    finally:
        gc.enable()

    assert left <= 1  # the last one may not have been let go yet


def client_calls() -> int:
    """Return how many calls are held by anything."""
    return sum(isinstance(each, ClientCall) for each in gc.get_objects())
