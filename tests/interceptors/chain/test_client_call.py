"""Chained calls from a caller's view: like calls of grpc.aio, except for their errors."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc.aio
import pytest

from contracts.errors import CircuitOpen, ServiceError, SlotTaken
from interceptors.chain.channel import ChainedChannel
from interceptors.chain.client import ClientCall, ClientInterceptor
from interceptors.hedging import ClientHedging
from interceptors.retry_budget import RetryBudgets
from solo60.example.v1 import echo_pb2
from solo60.example.v1.echo_pb2_grpc import EchoServiceStub
from tests.interceptors.breaker.test_breaker import raise_in_handlers
from tests.support.begun_calls import (
    begin_both_streams,
    begin_client_stream,
    begin_server_stream,
    begin_unary,
    begin_written_streams,
    each_begun_shape,
    wait_for_end,
)
from tests.support.call_shapes import HI
from tests.support.echo_server import Endless

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from interceptors.chain.client import ClientFinish
    from solo60.example.v1.echo_pb2_grpc import EchoServiceAsyncStub
    from tests.support.echo_server import EchoServer

HEDGED = echo_pb2.EchoHedgedRequest(text="hi")


class EndRecorder(ClientInterceptor):
    """Interceptor that records how each call ended, and rejects every call if `rejection` is given."""

    def __init__(self, key: str, rejection: Exception | None = None) -> None:
        self._key = key
        self._rejection = rejection
        self.errors: list[BaseException | None] = []
        self.has_ended = asyncio.Event()

    def start(self, call: ClientCall) -> ClientFinish:
        if self._rejection:
            raise self._rejection
        call.metadata.append(("x-api-key", self._key))
        return self._record

    def _record(self, _call: ClientCall, error: BaseException | None) -> None:
        self.errors.append(error)
        self.has_ended.set()


@pytest.fixture
def recorder(echo: EchoServer) -> EndRecorder:
    """Return the recorder of how the calls of `stub` end."""
    return EndRecorder(echo.key)


@pytest.fixture
async def stub(echo: EchoServer, recorder: EndRecorder) -> AsyncIterator[EchoServiceAsyncStub]:
    """Return a stub with hedging."""
    channel = grpc.aio.insecure_channel(echo.address)
    async with ChainedChannel(channel, [recorder, ClientHedging(RetryBudgets())]) as chained:
        yield EchoServiceStub(chained)


@pytest.fixture
async def rejecting() -> AsyncIterator[EchoServiceAsyncStub]:
    """Return a stub without a server, through an interceptor that rejects every call."""
    channel = grpc.aio.insecure_channel("127.0.0.1:1")
    async with ChainedChannel(channel, [EndRecorder("", CircuitOpen("Resting."))]) as chained:
        yield EchoServiceStub(chained)


@pytest.mark.parametrize("begin", [begin_unary, lambda stub: stub.EchoHedged(HEDGED)], ids=["unary", "hedged"])
async def test_a_call_reports_its_end_like_grpc(
    stub: EchoServiceAsyncStub, begin: Callable[[EchoServiceAsyncStub], Any]
) -> None:
    """An ended call returns its answer, code, details and metadata, and runs its done callbacks."""
    call, reported = begin(stub), asyncio.Event()
    call.add_done_callback(lambda _: reported.set())
    assert not call.done()

    assert (await call).text == "hi"
    assert (await call).text == "hi"

    await reported.wait()
    assert (call.done(), call.cancelled()) == (True, False)
    assert (await call.code(), await call.details()) == (grpc.StatusCode.OK, "")
    assert "x-correlation-id" in dict(await call.trailing_metadata())
    assert await call.initial_metadata() is not None


async def test_a_fatal_attempt_ends_the_hedged_call(
    echo: EchoServer, stub: EchoServiceAsyncStub, recorder: EndRecorder
) -> None:
    """A fatal error of one attempt ends a hedged call with its status, even if nothing awaits the answer."""
    raise_in_handlers(echo, SlotTaken())
    call: Any = stub.EchoHedged(HEDGED)

    assert await call.code() is grpc.StatusCode.INTERNAL
    assert (await call.details()).startswith("Internal error.")
    assert "grpc-status-details-bin" in dict(await call.trailing_metadata())
    await recorder.has_ended.wait()
    assert isinstance(recorder.errors[0], ServiceError)


async def test_a_hedged_call_can_be_cancelled(
    echo: EchoServer, stub: EchoServiceAsyncStub, recorder: EndRecorder
) -> None:
    """A hedged call can be cancelled before any attempt is answered."""
    echo.servicer.hook = endless = Endless()
    call: Any = stub.EchoHedged(HEDGED)
    await endless.entered.wait()

    assert call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await call
    assert await call.code() is grpc.StatusCode.CANCELLED
    assert await call.details() == "Locally cancelled by application!"
    assert [*await call.trailing_metadata(), *await call.initial_metadata()] == []
    assert (call.cancelled(), len(recorder.errors)) == (True, 1)


@each_begun_shape
async def test_an_unawaited_call_ends(
    echo: EchoServer, stub: EchoServiceAsyncStub, recorder: EndRecorder, begin: Callable[[EchoServiceAsyncStub], Any]
) -> None:
    """The interceptors are notified once of a call's end, even if nothing awaits the call."""
    raise_in_handlers(echo, SlotTaken())
    call = begin(stub)

    await recorder.has_ended.wait()

    assert len(recorder.errors) == 1
    with pytest.raises(ServiceError):
        await wait_for_end(call)
    assert len(recorder.errors) == 1


async def test_invalid_metadata_raises_type_error(stub: EchoServiceAsyncStub, recorder: EndRecorder) -> None:
    """A call with invalid metadata raises TypeError, and the interceptors are notified of that error."""
    with pytest.raises(TypeError):
        await stub.Echo(HI, metadata=(("x-number", 5),))  # type: ignore[arg-type]  # on purpose

    assert [type(each) for each in recorder.errors] == [TypeError]


async def test_writing_to_an_ended_call_raises_its_error(echo: EchoServer, stub: EchoServiceAsyncStub) -> None:
    """Writing to an ended call raises the contract's error, not gRPC's."""
    raise_in_handlers(echo, SlotTaken())
    call: Any = stub.EchoEach()
    with pytest.raises(ServiceError):
        await call.read()

    with pytest.raises(ServiceError):
        await call.write(echo_pb2.EchoEachRequest(text="hi"))


@pytest.mark.parametrize(
    "begin", [begin_unary, begin_server_stream, begin_client_stream, begin_both_streams, begin_written_streams]
)
async def test_a_rejected_call_raises_when_its_answer_is_read(
    rejecting: EchoServiceAsyncStub, begin: Callable[[EchoServiceAsyncStub], Any]
) -> None:
    """A rejected call does not raise when it begins, but in every method that waits for its answer."""
    call, reported = begin(rejecting), asyncio.Event()
    call.add_done_callback(lambda _: reported.set())

    await reported.wait()
    assert (call.done(), call.cancelled(), call.cancel(), call.time_remaining()) == (True, False, False, None)
    for ask in (call.read, call.code, call.wait_for_connection, lambda: call.write(HI)):
        with pytest.raises(CircuitOpen):
            await ask()
    with pytest.raises(CircuitOpen):
        await call
    with pytest.raises(CircuitOpen):
        async for _ in call:
            pass


class FailingFinish(ClientInterceptor):
    """Interceptor that fails when a call has ended."""

    def start(self, call: ClientCall) -> ClientFinish:
        def finish(_call: ClientCall, _error: BaseException | None) -> None:
            raise ValueError("a bug")

        return finish


@each_begun_shape
async def test_an_interceptor_bug_does_not_block_the_caller(
    echo: EchoServer, begin: Callable[[EchoServiceAsyncStub], Any]
) -> None:
    """If an interceptor fails at the end of a call, the caller still gets an error."""
    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
    raise_in_handlers(echo, SlotTaken())
    async with ChainedChannel(
        grpc.aio.insecure_channel(echo.address), [FailingFinish(), EndRecorder(echo.key)]
    ) as channel:
        with pytest.raises((ServiceError, ValueError)):
            await wait_for_end(begin(EchoServiceStub(channel)))


async def test_gathered_calls_fail_one_by_one(stub: EchoServiceAsyncStub, rejecting: EchoServiceAsyncStub) -> None:
    """A rejected call does not affect another call that is gathered with it."""
    answers = await asyncio.gather(rejecting.Echo(HI), stub.Echo(HI), return_exceptions=True)

    assert [type(each) for each in answers] == [CircuitOpen, echo_pb2.EchoResponse]


async def test_a_closed_channel_raises_usage_error(echo: EchoServer) -> None:
    """A call over a closed channel raises gRPC's own UsageError, and the interceptors are notified."""
    recorder = EndRecorder(echo.key)
    async with ChainedChannel(grpc.aio.insecure_channel(echo.address), [recorder]) as channel:
        stub = EchoServiceStub(channel)

    with pytest.raises(grpc.aio.UsageError):
        await stub.Echo(HI)
    assert [type(each) for each in recorder.errors] == [grpc.aio.UsageError]


async def test_a_chained_channel_reports_its_connectivity(echo: EchoServer) -> None:
    """A chained channel reports the connectivity of the channel that it wraps."""
    async with ChainedChannel(grpc.aio.insecure_channel(echo.address), []) as channel:
        assert channel.get_state(try_to_connect=True) is grpc.ChannelConnectivity.IDLE
        await channel.wait_for_state_change(grpc.ChannelConnectivity.IDLE)
        await channel.channel_ready()
        assert channel.get_state() is grpc.ChannelConnectivity.READY
        await channel.close()
    assert channel.get_state() is grpc.ChannelConnectivity.SHUTDOWN
