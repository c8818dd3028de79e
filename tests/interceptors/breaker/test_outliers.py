from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import grpc.aio
import pytest

from contracts.errors import Internal
from interceptors.breaker.interceptor import Breakers, ClientBreaker
from interceptors.chain.channel import ChainedChannel
from interceptors.keys.interceptor import ClientApiKey
from solo60.example.v1 import echo_pb2
from solo60.example.v1.echo_pb2_grpc import EchoServiceStub
from tests.support.retries import retry_options

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from interceptors.chain.client import ClientInterceptor
    from solo60.example.v1.echo_pb2_grpc import EchoServiceAsyncStub
    from tests.support.echo_server import EchoServer, ServeEcho

HI = echo_pb2.EchoRequest(text="hi")
MAX_STEP_S = 0.02
EJECTED_AFTER = 50
TIMEOUT_S = 60


class RunningClock:
    """Clock that stops between readings, so that no time passes while the machine is suspended."""

    def __init__(self) -> None:
        self._now = 1000.0
        self._read_at = time.monotonic()

    def __call__(self) -> float:
        seen = time.monotonic()
        self._now += min(seen - self._read_at, MAX_STEP_S)
        self._read_at = seen
        return self._now


@pytest.fixture
async def replicas(serve_echo: ServeEcho) -> list[EchoServer]:
    """Start two servers that accept the same key."""
    servers = [await serve_echo(), await serve_echo()]
    servers[1].keyring = servers[0].keyring
    return servers


@pytest.fixture
def breakers() -> Breakers:
    """Return the breakers of the caller."""
    return Breakers(now=RunningClock())


@asynccontextmanager
async def stub_of_replicas(
    replicas: list[EchoServer], interceptors: list[ClientInterceptor]
) -> AsyncIterator[EchoServiceAsyncStub]:
    """Return a stub that calls the replicas in turn, with the service config."""
    target = f"ipv4:{','.join(each.address for each in replicas)}"
    channel = grpc.aio.insecure_channel(target, options=retry_options(target))
    async with ChainedChannel(channel, interceptors) as channel:
        yield EchoServiceStub(channel)


@pytest.fixture
async def stub(replicas: list[EchoServer], breakers: Breakers) -> AsyncIterator[EchoServiceAsyncStub]:
    """Return a stub that calls both replicas through the breakers."""
    chain: list[ClientInterceptor] = [ClientApiKey(lambda: replicas[0].key), ClientBreaker(breakers)]
    async with stub_of_replicas(replicas, chain) as stub:
        yield stub


async def crash() -> None:
    """Fail like a bug."""
    raise ValueError("a bug")


async def succeeds(stub: EchoServiceAsyncStub) -> bool:
    """Call once, and return whether the call succeeded."""
    try:
        await stub.Echo(HI)
    except Internal:
        return False
    return True


@pytest.mark.requirement("L4")
async def test_a_failing_address_is_ejected_while_the_other_works(
    replicas: list[EchoServer], stub: EchoServiceAsyncStub, breakers: Breakers
) -> None:
    """Once a failing address is ejected, at most 2 % of the calls fail, and the method's breaker stays closed."""
    replicas[0].servicer.hook = crash
    successes_in_a_row, deadline = 0, time.monotonic() + TIMEOUT_S
    while successes_in_a_row < EJECTED_AFTER:
        successes_in_a_row = successes_in_a_row + 1 if await succeeds(stub) else 0
        assert time.monotonic() < deadline

    succeeded = sum([await succeeds(stub) for _ in range(300)])

    assert succeeded >= 0.98 * 300
    assert replicas[0].servicer.entered > 0
    assert set(breakers.states().values()) == {"closed"}


async def test_one_of_two_failing_addresses_is_still_called(replicas: list[EchoServer]) -> None:
    """At most half of the addresses are ejected, so that one of two failing addresses still gets calls."""
    for each in replicas:
        each.servicer.hook = crash
    async with stub_of_replicas(replicas, [ClientApiKey(lambda: replicas[0].key)]) as stub:
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            entered = [each.servicer.entered for each in replicas]
            for _ in range(EJECTED_AFTER):
                assert not await succeeds(stub)
            if 0 in (each.servicer.entered - before for each, before in zip(replicas, entered, strict=True)):
                break
            assert time.monotonic() < deadline

    assert min(entered) > 0
