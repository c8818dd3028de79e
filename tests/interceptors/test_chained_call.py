"""What a caller holds: a call of ours is what a call of grpc.aio is, but for its errors."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc.aio
import pytest

from contracts.errors import CircuitOpen, ServiceError, SlotTaken
from interceptors.chained_channel import ChainedChannel
from interceptors.client import ClientCall, ClientInterceptor
from interceptors.hedging import ClientHedging
from interceptors.retry_budget import RetryBudgets
from solo60.example.v1 import echo_pb2
from solo60.example.v1.echo_pb2_grpc import EchoServiceStub
from tests.interceptors.test_breaker import refuse
from tests.interceptors.test_cancellation import (
    HI,
    both_streams,
    client_stream,
    each_shape,
    outcome,
    server_stream,
    unary,
    written,
)
from tests.support.echo_server import Endless

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from interceptors.client import Finish
    from solo60.example.v1.echo_pb2_grpc import EchoServiceAsyncStub
    from tests.support.echo_server import EchoServer

HEDGED = echo_pb2.EchoHedgedRequest(text="hi")


class Ends(ClientInterceptor):
    """Keeps how each call ended; refuses every call where it is told to."""

    def __init__(self, key: str, refusal: Exception | None = None) -> None:
        self._key = key
        self._refusal = refusal
        self.seen: list[BaseException | None] = []
        self.one = asyncio.Event()

    def start(self, call: ClientCall) -> Finish:
        if self._refusal:
            raise self._refusal
        call.metadata.append(("x-api-key", self._key))
        return self._note

    def _note(self, error: BaseException | None) -> None:
        self.seen.append(error)
        self.one.set()


@pytest.fixture
def ends(echo: EchoServer) -> Ends:
    """Note how each call of `stub` ends."""
    return Ends(echo.key)


@pytest.fixture
async def stub(echo: EchoServer, ends: Ends) -> AsyncIterator[EchoServiceAsyncStub]:
    """Call with hedging, where the contract says so."""
    channel = grpc.aio.insecure_channel(echo.address)
    async with ChainedChannel(channel, [ends, ClientHedging(RetryBudgets())]) as chained:
        yield EchoServiceStub(chained)


@pytest.fixture
async def refused() -> AsyncIterator[EchoServiceAsyncStub]:
    """Call where nobody listens, through an interceptor that refuses everything."""
    channel = grpc.aio.insecure_channel("127.0.0.1:1")
    async with ChainedChannel(channel, [Ends("", CircuitOpen("Resting."))]) as chained:
        yield EchoServiceStub(chained)


@pytest.mark.parametrize("begin", [unary, lambda stub: stub.EchoHedged(HEDGED)], ids=["unary", "hedged"])
async def test_a_call_tells_of_its_end_as_grpcs_own_does(
    stub: EchoServiceAsyncStub, begin: Callable[[EchoServiceAsyncStub], Any]
) -> None:
    """Its code, its metadata, and whoever asked to be told."""
    call, told = begin(stub), asyncio.Event()
    call.add_done_callback(lambda _: told.set())
    assert not call.done()

    assert (await call).text == "hi"
    assert (await call).text == "hi"

    await told.wait()
    assert (call.done(), call.cancelled()) == (True, False)
    assert (await call.code(), await call.details()) == (grpc.StatusCode.OK, "")
    assert "x-correlation-id" in dict(await call.trailing_metadata())
    assert await call.initial_metadata() is not None


async def test_the_attempt_that_fails_for_good_is_the_hedged_calls_end(
    echo: EchoServer, stub: EchoServiceAsyncStub, ends: Ends
) -> None:
    """With its status, also for who does not wait for the answer."""
    refuse(echo, SlotTaken())
    call: Any = stub.EchoHedged(HEDGED)

    assert await call.code() is grpc.StatusCode.INTERNAL
    assert (await call.details()).startswith("Internal error.")
    assert "grpc-status-details-bin" in dict(await call.trailing_metadata())
    await ends.one.wait()
    assert isinstance(ends.seen[0], ServiceError)


async def test_a_hedged_call_can_be_cancelled(echo: EchoServer, stub: EchoServiceAsyncStub, ends: Ends) -> None:
    """Before any attempt is answered."""
    echo.servicer.hook = endless = Endless()  # type: ignore[method-assign]  # what the hook is for
    call: Any = stub.EchoHedged(HEDGED)
    await endless.entered.wait()

    assert call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await call
    assert await call.code() is grpc.StatusCode.CANCELLED
    assert await call.details() == "Locally cancelled by application!"
    assert [*await call.trailing_metadata(), *await call.initial_metadata()] == []
    assert (call.cancelled(), len(ends.seen)) == (True, 1)


@each_shape
async def test_a_call_for_which_nobody_waits_ends_all_the_same(
    echo: EchoServer, stub: EchoServiceAsyncStub, ends: Ends, begin: Callable[[EchoServiceAsyncStub], Any]
) -> None:
    """Its span ends and it is not counted as under way for ever: the interceptors hear of it."""
    refuse(echo, SlotTaken())
    call = begin(stub)

    await ends.one.wait()

    assert len(ends.seen) == 1
    with pytest.raises(ServiceError):
        await outcome(call)
    assert len(ends.seen) == 1


async def test_a_call_that_cannot_be_sent_is_the_callers_own_fault(stub: EchoServiceAsyncStub, ends: Ends) -> None:
    """And the interceptors hear of it, though gRPC has nothing to say."""
    with pytest.raises(TypeError):
        await stub.Echo(HI, metadata=(("x-number", 5),))  # type: ignore[arg-type]  # on purpose

    assert [type(each) for each in ends.seen] == [TypeError]


async def test_writing_to_a_call_that_has_ended_raises_its_error(echo: EchoServer, stub: EchoServiceAsyncStub) -> None:
    """The contract's, not gRPC's."""
    refuse(echo, SlotTaken())
    call: Any = stub.EchoEach()
    with pytest.raises(ServiceError):
        await call.read()

    with pytest.raises(ServiceError):
        await call.write(echo_pb2.EchoEachRequest(text="hi"))


@pytest.mark.parametrize("begin", [unary, server_stream, client_stream, both_streams, written])
async def test_a_refused_call_raises_where_its_answer_is_asked_for(
    refused: EchoServiceAsyncStub, begin: Callable[[EchoServiceAsyncStub], Any]
) -> None:
    """And not before: of several calls that are begun together, the others are not lost."""
    call, told = begin(refused), asyncio.Event()
    call.add_done_callback(lambda _: told.set())

    await told.wait()
    assert (call.done(), call.cancelled(), call.cancel(), call.time_remaining()) == (True, False, False, None)
    for ask in (call.read, call.code, call.wait_for_connection, lambda: call.write(HI)):
        with pytest.raises(CircuitOpen):
            await ask()
    with pytest.raises(CircuitOpen):
        await call
    with pytest.raises(CircuitOpen):
        async for _ in call:
            pass


class Stumbles(ClientInterceptor):
    """Fails when a call has ended."""

    def start(self, call: ClientCall) -> Finish:  # noqa: ARG002 - what the base class promises
        def finish(_error: BaseException | None) -> None:
            raise ValueError("a bug")

        return finish


@each_shape
async def test_a_bug_in_an_interceptor_keeps_no_caller_waiting(
    echo: EchoServer, begin: Callable[[EchoServiceAsyncStub], Any]
) -> None:
    """The call is over; the bug is told to its caller or to the loop, whoever was there."""
    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
    refuse(echo, SlotTaken())
    async with ChainedChannel(grpc.aio.insecure_channel(echo.address), [Stumbles(), Ends(echo.key)]) as channel:
        with pytest.raises((ServiceError, ValueError)):
            await outcome(begin(EchoServiceStub(channel)))


async def test_calls_that_are_gathered_fail_one_by_one(
    stub: EchoServiceAsyncStub, refused: EchoServiceAsyncStub
) -> None:
    """A refusal is no exception of the line that begins the call."""
    answers = await asyncio.gather(refused.Echo(HI), stub.Echo(HI), return_exceptions=True)

    assert [type(each) for each in answers] == [CircuitOpen, echo_pb2.EchoResponse]


async def test_a_closed_channel_refuses(echo: EchoServer) -> None:
    """With gRPC's own error, as a channel without a chain."""
    ends = Ends(echo.key)
    async with ChainedChannel(grpc.aio.insecure_channel(echo.address), [ends]) as channel:
        stub = EchoServiceStub(channel)

    with pytest.raises(grpc.aio.UsageError):
        await stub.Echo(HI)
    assert [type(each) for each in ends.seen] == [grpc.aio.UsageError]


async def test_a_channel_tells_of_its_connection(echo: EchoServer) -> None:
    """As the channel does that it stands around."""
    async with ChainedChannel(grpc.aio.insecure_channel(echo.address), []) as channel:
        assert channel.get_state(try_to_connect=True) is grpc.ChannelConnectivity.IDLE
        await channel.wait_for_state_change(grpc.ChannelConnectivity.IDLE)
        await channel.channel_ready()
        assert channel.get_state() is grpc.ChannelConnectivity.READY
        await channel.close()
    assert channel.get_state() is grpc.ChannelConnectivity.SHUTDOWN
