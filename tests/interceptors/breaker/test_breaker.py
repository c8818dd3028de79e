from __future__ import annotations

import asyncio
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import grpc.aio
import pytest
from prometheus_client import CollectorRegistry

from contracts.errors import (
    Cancelled,
    CircuitOpen,
    DeadlineExceeded,
    Internal,
    InvalidRequest,
    Overloaded,
    RateLimited,
    ServiceError,
    SlotTaken,
    Unavailable,
    UnknownError,
)
from contracts.method import find_method
from interceptors.breaker.circuit import Outcome
from interceptors.breaker.interceptor import Breakers, ClientBreaker, outcome_of
from interceptors.chain.channel import ChainedChannel
from interceptors.chain.client import ClientCall
from interceptors.keys.interceptor import ClientApiKey
from mesh.config import load_settings
from mesh.serving.channel import client_interceptors
from solo60.example.v1 import echo_pb2
from solo60.example.v1.echo_pb2_grpc import EchoServiceStub
from tests.support.clock import ManualClock
from tests.support.echo_server import Endless
from tests.support.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from solo60.example.v1.echo_pb2_grpc import EchoServiceAsyncStub
    from tests.support.echo_server import EchoServer, ServeEcho

HI = echo_pb2.EchoRequest(text="hi")
ECHO = "solo60.example.v1.EchoService/Echo"
KEEP = "solo60.example.v1.EchoService/Keep"


@pytest.fixture
def clock() -> ManualClock:
    """Return the clock of the breakers."""
    return ManualClock()


@pytest.fixture
def breakers(clock: ManualClock) -> Breakers:
    """Return the breakers of the test's channels."""
    return Breakers(now=clock)


@pytest.fixture
async def stub(echo: EchoServer, breakers: Breakers) -> AsyncIterator[EchoServiceAsyncStub]:
    """Return a stub that calls through the breakers."""
    chain = [ClientApiKey(lambda: echo.key), ClientBreaker(breakers)]
    async with ChainedChannel(grpc.aio.insecure_channel(echo.address), chain) as channel:
        yield EchoServiceStub(channel)


def raise_in_handlers(echo: EchoServer, error: BaseException | None) -> None:
    """Make every handler raise `error`, or nothing if `error` is None."""

    async def hook() -> None:
        if error is not None:
            raise error

    echo.servicer.hook = hook


async def fail_calls(stub: EchoServiceAsyncStub, times: int, error: type[ServiceError] = ServiceError) -> None:
    """Make this number of calls and expect each to raise `error`."""
    for _ in range(times):
        with pytest.raises(error):
            await stub.Echo(HI)


@pytest.mark.parametrize("error", [Unavailable(), ValueError("a bug")])
async def test_a_failing_method_is_not_called(
    echo: EchoServer, stub: EchoServiceAsyncStub, breakers: Breakers, error: Exception
) -> None:
    """After 20 failures no call of the method is sent, and CircuitOpen names the method and the time to wait."""
    raise_in_handlers(echo, error)
    await fail_calls(stub, 20)

    with pytest.raises(CircuitOpen) as caught:
        await stub.Echo(HI)

    assert caught.value.callee == ECHO
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE
    assert caught.value.retry_after_s is not None
    assert 4 <= caught.value.retry_after_s <= 6
    assert echo.servicer.entered == 20
    assert breakers.states() == {ECHO: "open"}


@pytest.mark.parametrize("error", [SlotTaken(), RateLimited(), Overloaded(), InvalidRequest(), Cancelled()])
async def test_rejections_do_not_open_the_circuit(
    echo: EchoServer, stub: EchoServiceAsyncStub, breakers: Breakers, error: Exception
) -> None:
    """Errors of the caller, limits of the callee and cancellations do not open the circuit."""
    raise_in_handlers(echo, error)

    await fail_calls(stub, 30)

    assert echo.servicer.entered == 30
    assert breakers.states() == {ECHO: "closed"}


async def test_other_methods_stay_available(echo: EchoServer, stub: EchoServiceAsyncStub, breakers: Breakers) -> None:
    """The open circuit of one method does not affect another method of the same service."""
    raise_in_handlers(echo, Unavailable())
    await fail_calls(stub, 21)
    raise_in_handlers(echo, None)

    assert (await stub.EchoSheddable(echo_pb2.EchoSheddableRequest(text="hi"))).text == "hi"

    assert breakers.states() == {ECHO: "open", "solo60.example.v1.EchoService/EchoSheddable": "closed"}


async def test_three_good_probes_close_the_circuit(
    echo: EchoServer, stub: EchoServiceAsyncStub, breakers: Breakers, clock: ManualClock
) -> None:
    """Once its open time is over, the circuit is half-open, and three good probes close it."""
    raise_in_handlers(echo, Unavailable())
    await fail_calls(stub, 20)
    raise_in_handlers(echo, None)
    await fail_calls(stub, 1, CircuitOpen)

    clock.now_s += 6
    assert breakers.states() == {ECHO: "half-open"}
    for _ in range(3):
        await stub.Echo(HI)

    assert breakers.states() == {ECHO: "closed"}


async def test_three_of_two_hundred_callers_probe(
    echo: EchoServer, stub: EchoServiceAsyncStub, clock: ManualClock
) -> None:
    """Of 200 concurrent callers, three probe a half-open circuit and the others are rejected.

    A cancelled probe frees its place.
    """
    raise_in_handlers(echo, Unavailable())
    await fail_calls(stub, 20)
    echo.servicer.hook = endless = Endless()
    echo.servicer.entered = 0
    clock.now_s += 6

    async def call_echo() -> str:
        return (await stub.Echo(HI)).text

    callers = [asyncio.create_task(call_echo()) for _ in range(200)]
    for caller in islice(asyncio.as_completed(callers), 197):
        with pytest.raises(CircuitOpen):
            await caller
    probes = [each for each in callers if not each.done()]
    probes[0].cancel()
    await asyncio.wait([probes[0]])
    another = asyncio.create_task(call_echo())
    endless.is_open.set()

    assert await asyncio.gather(*probes[1:], another) == ["hi"] * 3
    assert echo.servicer.entered <= 4  # the cancelled one may not have arrived


async def test_calls_rejected_by_other_interceptors_are_not_counted(echo: EchoServer, breakers: Breakers) -> None:
    """In the chain of every client, calls rejected for lack of time do not reach the breaker."""
    chain = client_interceptors(load_settings(), lambda: echo.key, CollectorRegistry(), breakers)
    async with ChainedChannel(grpc.aio.insecure_channel(echo.address), chain) as channel:
        stub = EchoServiceStub(channel)
        for _ in range(30):
            with pytest.raises(DeadlineExceeded):
                await stub.Echo(HI, timeout=0)

        assert echo.servicer.entered == 0
        assert breakers.states() == {}
        await stub.Echo(HI)
        assert breakers.states() == {ECHO: "closed"}


async def test_five_unreachable_calls_open_the_circuit(breakers: Breakers) -> None:
    """Five calls in a row that cannot reach the service open the circuit."""
    [port] = free_ports(1)
    chain = [ClientBreaker(breakers)]
    async with ChainedChannel(grpc.aio.insecure_channel(f"127.0.0.1:{port}"), chain) as channel:
        stub = EchoServiceStub(channel)
        await fail_calls(stub, 5, Unavailable)
        await fail_calls(stub, 1, CircuitOpen)

    assert breakers.states() == {ECHO: "open"}


async def test_response_streams_bypass_the_breaker(
    echo: EchoServer, stub: EchoServiceAsyncStub, breakers: Breakers
) -> None:
    """Failing response streams are always sent and have no circuit."""
    raise_in_handlers(echo, Unavailable())
    for _ in range(30):
        with pytest.raises(Unavailable):
            [each async for each in stub.EchoMany(echo_pb2.EchoManyRequest(text="hi", repeat=1))]

    assert echo.servicer.entered == 30
    assert breakers.states() == {}


async def test_all_channels_of_a_process_share_their_breakers(serve_echo: ServeEcho, breakers: Breakers) -> None:
    """Failures on two channels with the same breakers count for one circuit."""
    servers = [await serve_echo(), await serve_echo()]
    for server in servers:
        raise_in_handlers(server, Unavailable())
        chain = [ClientApiKey(partial(str, server.key)), ClientBreaker(breakers)]
        async with ChainedChannel(grpc.aio.insecure_channel(server.address), chain) as channel:
            await fail_calls(EchoServiceStub(channel), 10, Unavailable)

    assert breakers.states() == {ECHO: "open"}


@pytest.mark.parametrize(
    ("timeout_s", "outcome"), [(None, Outcome.FAILURE), (0.2, Outcome.FAILURE), (0.1, Outcome.UNCOUNTED)]
)
def test_a_timeout_far_below_the_contract_is_not_counted(timeout_s: float | None, outcome: Outcome) -> None:
    """A deadline failure is not counted if the caller gave less than a tenth of the contract's 2 s."""
    call = ClientCall(find_method("/" + ECHO), [], timeout_s)

    assert outcome_of(DeadlineExceeded(), call) is outcome


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (Internal(), Outcome.FAILURE),
        (UnknownError(grpc.StatusCode.UNKNOWN), Outcome.FAILURE),
        (Unavailable(), Outcome.UNREACHABLE),
        (UnknownError(grpc.StatusCode.NOT_FOUND), Outcome.SUCCESS),
        (UnknownError(grpc.StatusCode.INVALID_ARGUMENT), Outcome.UNCOUNTED),
        (Cancelled(), Outcome.UNCOUNTED),
        (asyncio.CancelledError(), Outcome.UNCOUNTED),
        (TypeError("not a message"), Outcome.UNCOUNTED),
    ],
)
def test_errors_map_to_outcomes(error: BaseException, outcome: Outcome) -> None:
    """Errors of the service are failures, and faults of the caller are not counted.

    Statuses such as NOT_FOUND are successes.
    """
    assert outcome_of(error, ClientCall(find_method("/" + ECHO), [], None)) is outcome
