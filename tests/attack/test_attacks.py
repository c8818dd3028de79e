from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from mesh.serving.engine import STREAMS_PER_CONNECTION
from solo60.example.v1.echo_pb2 import EchoCriticalRequest
from tests.attack.attacks import ATTACKS
from tests.attack.target import Target

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from solo60.example.v1.echo_pb2_grpc import EchoServiceAsyncStub

pytestmark = pytest.mark.system

ENGINES = ("grpcio", "native")
MAX_GROWTH_BYTES = 64 * 1024 * 1024
# The native engine decompresses a whole message before it checks the size, so a bomb briefly takes 200 MB.
# Twenty connections with the maximum of streams hold 5,000 concurrent calls.
MAX_LARGE_GROWTH_BYTES = {
    ("native", "zip bomb"): 512 * 1024 * 1024,
    ("grpcio", "rapid reset from many"): 192 * 1024 * 1024,
    ("native", "rapid reset from many"): 192 * 1024 * 1024,
}
# Highest number of streams on one connection.
MAX_STREAMS = STREAMS_PER_CONNECTION
PAUSE_S = 0.01
TIMEOUT_S = 30.0


@pytest.fixture(scope="module", params=ENGINES)
def target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """Start one target per engine for all tests of this module."""
    with Target.started(tmp_path_factory.mktemp("target"), engine=request.param) as target:
        yield target


class Neighbour:
    """Well-behaved client that records its latencies and the target's highest memory."""

    def __init__(self, target: Target, stub: EchoServiceAsyncStub) -> None:
        self._target = target
        self._stub = stub
        self.times_s: list[float] = []
        self.most_memory_bytes = 0

    async def call(self) -> None:
        """Make one critical call, which an overloaded target sheds last, and assert that it succeeds."""
        began = time.perf_counter()
        answer = await self._stub.EchoCritical(EchoCriticalRequest(text="hi"))
        assert answer.text == "hi"
        self.times_s.append(time.perf_counter() - began)
        self.most_memory_bytes = max(self.most_memory_bytes, self._target.memory_bytes)

    async def call_until(self, ended: asyncio.Event) -> None:
        """Call until the event is set."""
        while not ended.is_set():
            await self.call()
            await asyncio.sleep(PAUSE_S)


@asynccontextmanager
async def neighbour_of(target: Target) -> AsyncIterator[Neighbour]:
    """Run a neighbour within the context; raise the error of a failed call at the end."""
    async with target.stub() as stub:
        neighbour = Neighbour(target, stub)
        await neighbour.call()
        ended = asyncio.Event()
        calling = asyncio.create_task(neighbour.call_until(ended))
        try:
            yield neighbour
        finally:
            ended.set()
            await asyncio.wait([calling])
        calling.result()


async def until_idle(target: Target) -> None:
    """Wait until no handler is running."""
    async with asyncio.timeout(TIMEOUT_S):
        while target.state().running_handlers:  # noqa: ASYNC110 - the target is another process
            await asyncio.sleep(PAUSE_S)


async def run_attack(target: Target, name: str, times: int) -> Neighbour:
    """Attack the target; assert that a neighbour's calls succeed and memory and handlers stay within their limits."""
    memory_bytes = target.memory_bytes
    async with neighbour_of(target) as neighbour:
        await asyncio.to_thread(ATTACKS[name].run, target, times)
        await neighbour.call()
    await until_idle(target)

    assert target.is_alive
    grown_bytes = max(neighbour.most_memory_bytes, target.memory_bytes) - memory_bytes
    assert grown_bytes <= MAX_LARGE_GROWTH_BYTES.get((target.engine, name), MAX_GROWTH_BYTES)
    assert target.state().max_running_handlers <= MAX_STREAMS + 1
    return neighbour


@pytest.mark.parametrize("name", ATTACKS)
async def test_an_attack_does_not_affect_other_callers(target: Target, name: str) -> None:
    """During an attack the target survives with bounded memory and handlers, and a neighbour's calls all succeed."""
    await run_attack(target, name, ATTACKS[name].short)


@pytest.mark.soak
@pytest.mark.parametrize("name", ATTACKS)
async def test_a_long_attack_does_not_affect_other_callers(target: Target, name: str) -> None:
    """A target also withstands long attacks, such as 50,000 resets, 2,000 idle connections and 216 MB of headers."""
    neighbour = await run_attack(target, name, ATTACKS[name].long)

    times_s = sorted(neighbour.times_s)
    print(f"{name}: {len(times_s)} calls beside it, p99 {times_s[len(times_s) * 99 // 100] * 1000:.0f} ms")  # noqa: T201 - a report for runs with -s
