from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_health.v1.health_pb2_grpc import HealthStub

from contracts.errors import Overloaded, ServiceError
from contracts.method import find_method
from interceptors.deadline import TIMEOUT_MS
from interceptors.gradient import LEAST
from interceptors.queue_delay import INTERVAL_S
from interceptors.server import PREVIOUS_ATTEMPTS, Call
from interceptors.shedding import ServerShedding, waited_before_arrival_s
from solo60.example.v1.echo_pb2 import EchoRequest
from tests.support.engines import needs_queue_delay

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from structlog.typing import EventDict

    from tests.support.echo_server import ServeEcho

ECHO = "/solo60.example.v1.EchoService/"
HEALTH = "/grpc.health.v1.Health/Check"
HI = EchoRequest(text="hi")
DEADLINE_S = 0.25
COST_S, COST_OF_REFUSING_S = 0.004, 0.0004
CAPACITY = 1 / COST_S


class Arrived:
    """The context of a call that has so much time left."""

    def __init__(self, remaining_s: float) -> None:
        self._remaining_s = remaining_s

    def time_remaining(self) -> float:
        return self._remaining_s


def call_of(name: str, waited_s: float = 0.0, metadata: Mapping[str, str] | None = None) -> Call:
    """Return a call that has waited for so long."""
    path = name if name.startswith("/") else f"{ECHO}{name}"
    sent = {TIMEOUT_MS: f"{DEADLINE_S * 1000:.0f}", **(metadata or {})}
    return Call(find_method(path), cast("Any", Arrived(DEADLINE_S - waited_s)), sent, b"")


@dataclass
class Simulation:
    """A server with one queue that is served in order, and its clock; the shedder is the real one."""

    queue_delay_s: float = 0.02
    now_s: float = 100.0
    latencies_s: dict[str, list[float]] = field(default_factory=dict)
    offered: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.shedding = ServerShedding((), self.queue_delay_s, now=lambda: self.now_s, rng=random.Random(1))  # noqa: S311 - a simulation
        self.shedding._loop.is_sampling = self.shedding._loop.is_busy = True

    async def offer(self, rate: float, seconds: float, names: Sequence[str] = ("Echo",)) -> None:
        """Send calls at random times, whatever becomes of them."""
        chance, arrives_s, ends_s = random.Random(2), self.now_s, self.now_s + seconds  # noqa: S311 - a simulation
        self.latencies_s, self.offered = {name: [] for name in names}, dict.fromkeys(names, 0)
        while (arrives_s := arrives_s + chance.expovariate(rate)) < ends_s:
            name = chance.choice(names)
            self.offered[name] += 1
            self.now_s = max(self.now_s, arrives_s)
            await self._serve(name, arrives_s)

    async def _serve(self, name: str, arrives_s: float) -> None:
        call = call_of(name, self.now_s - arrives_s)
        self.shedding.applies_to(call.method)
        try:
            await self.shedding.intercept(call, self._handle)
        except Overloaded:
            self.now_s += COST_OF_REFUSING_S
        else:
            self.latencies_s[name].append(self.now_s - arrives_s)

    async def _handle(self, _call: Call) -> bytes | None:
        self.now_s += COST_S
        return b""

    def in_time(self, name: str = "Echo") -> int:
        return sum(latency_s <= DEADLINE_S for latency_s in self.latencies_s[name])

    def p99_s(self, name: str = "Echo") -> float:
        ordered = sorted(self.latencies_s[name])
        return ordered[int(len(ordered) * 0.99)]


@pytest.mark.requirement("S3")
@pytest.mark.parametrize(("load", "share"), [(2.0, 0.85), (4.0, 0.60)])
async def test_goodput_holds_under_overload(load: float, share: float) -> None:
    """At twice the capacity 85 % of it is served in time, at four times 60 %; what is served is served soon."""
    simulation = Simulation()
    await simulation.offer(CAPACITY / 2, 10)
    unloaded_s = simulation.p99_s()

    await simulation.offer(load * CAPACITY, 20)

    assert simulation.in_time() >= share * CAPACITY * 20
    assert simulation.p99_s() <= 3 * unloaded_s


async def test_without_shedding_goodput_collapses() -> None:
    """The simulation shows what it is compared with."""
    simulation = Simulation(queue_delay_s=60.0)

    await simulation.offer(2 * CAPACITY, 20)

    assert simulation.in_time() <= 0.1 * CAPACITY * 20


async def test_latency_is_back_soon_after_a_spike() -> None:
    """Within 3 s; here within half of one."""
    simulation = Simulation()
    await simulation.offer(4 * CAPACITY, 30)
    await simulation.offer(CAPACITY / 2, 0.5)

    await simulation.offer(CAPACITY / 2, 10)

    assert len(simulation.latencies_s["Echo"]) == simulation.offered["Echo"]
    assert simulation.p99_s() <= 0.030


@pytest.mark.requirement("S3")
async def test_the_critical_is_shed_last() -> None:
    """At twice the capacity 99 % of what is critical is answered, and nothing of what is sheddable."""
    simulation = Simulation()
    names = ("EchoSheddable", "Echo", "EchoCritical")

    await simulation.offer(2 * CAPACITY, 20, names)

    answered = {name: simulation.in_time(name) / simulation.offered[name] for name in names}
    assert answered["EchoCritical"] >= 0.99
    assert answered["EchoSheddable"] <= 0.05
    assert answered["EchoSheddable"] < answered["Echo"] < answered["EchoCritical"]


async def test_a_server_that_keeps_up_refuses_nothing() -> None:
    """At 80 % of the capacity, with the queues that chance makes."""
    simulation = Simulation()

    await simulation.offer(0.8 * CAPACITY, 20)

    assert len(simulation.latencies_s["Echo"]) >= 0.99 * simulation.offered["Echo"]


async def test_calls_that_have_waited_elsewhere_are_served() -> None:
    """Where the event loop has time to rest, the wait was for a connection, or within the caller."""
    simulation = Simulation()
    simulation.shedding._loop.is_busy = False

    for _ in range(1_000):
        simulation.now_s += 0.01
        await simulation.shedding.intercept(call_of("Echo", 0.1), simulation._handle)


async def standing(*levels: str) -> ServerShedding:
    """Return a shedder whose queue has stood at 50 ms for long enough."""
    shedding, now_s = ServerShedding([HEALTH.split("/")[1]], rng=random.Random(1)), 10.0  # noqa: S311 - a simulation
    shedding._loop.is_sampling = shedding._loop.is_busy = True
    shedding._now = lambda: now_s
    for name in (*levels, "Echo", "Echo"):
        shedding.applies_to(call_of(name).method)
    for now_s in (10.0, 10.05, 10.101):  # noqa: B007 - the clock
        try:
            await shedding.intercept(call_of("Echo", 0.05), _answer)
        except Overloaded:
            return shedding
    raise AssertionError("it should stand")


async def _answer(_call: Call) -> bytes | None:
    return b""


@pytest.mark.requirement("S3")
async def test_what_is_shed_hears_when_to_come_back(logs: list[EventDict]) -> None:
    """RESOURCE_EXHAUSTED, and a pause that is not the same for all."""
    shedding, pauses_s = await standing(), set()
    for _ in range(100):
        with pytest.raises(Overloaded) as caught:
            await shedding.intercept(call_of("Echo", 0.05), _answer)
        pauses_s.add(caught.value.retry_after_s or 0)
    await asyncio.sleep(0)

    assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert len(pauses_s) > 50
    assert all(INTERVAL_S <= pause_s <= 3 * INTERVAL_S for pause_s in pauses_s)
    assert logs == [{"event": "shedding", "log_level": "warning", "normal": 101}]


async def test_what_has_not_waited_is_served_although_the_queue_stands() -> None:
    """The call itself must have waited too long as well."""
    shedding = await standing()

    assert await shedding.intercept(call_of("Echo", 0.015), _answer) == b""
    assert await shedding.intercept(call_of("EchoCritical", 0.09), _answer) == b""
    with pytest.raises(Overloaded):
        await shedding.intercept(call_of("EchoSheddable", 0.015), _answer)


@pytest.mark.parametrize(
    "metadata",
    [
        {TIMEOUT_MS: "x"},
        {TIMEOUT_MS: "9" * 400},
        {TIMEOUT_MS: "60000"},
        {TIMEOUT_MS: "250", PREVIOUS_ATTEMPTS: "1"},
    ],
    ids=["malformed", "no float is so large", "rounded too much", "sent again"],
)
def test_a_wait_that_cannot_be_known_is_not_guessed(metadata: dict[str, str]) -> None:
    """A retry has its first attempt in the difference, a long deadline what the core rounds up."""
    assert waited_before_arrival_s(call_of("Echo", 0.1, metadata)) is None
    assert waited_before_arrival_s(call_of("Echo", 0.1)) == pytest.approx(0.1)
    assert waited_before_arrival_s(call_of("Echo", -0.01)) == 0.0


async def test_more_calls_at_once_than_the_limit_are_refused() -> None:
    """Where calls wait within handlers; a critical call has five times the room."""
    shedding, is_open = ServerShedding(), asyncio.Event()

    async def wait(_call: Call) -> bytes | None:
        await is_open.wait()
        return b""

    shedding.applies_to(call_of("Echo").method)
    limit = int(shedding._gradients[f"{ECHO}Echo"].limit)
    waiting = [asyncio.create_task(cast("Any", shedding.intercept(call_of("Echo"), wait))) for _ in range(limit)]
    await asyncio.sleep(0)

    with pytest.raises(Overloaded):
        await shedding.intercept(call_of("Echo"), _answer)
    assert await shedding.intercept(call_of("Echo", metadata={"x-criticality": "critical"}), _answer) == b""

    waiting[0].cancel()
    is_open.set()
    await asyncio.wait(waiting)
    assert shedding._gradients[f"{ECHO}Echo"].in_flight == 0


@pytest.mark.parametrize(("remaining_s", "is_cut"), [(0.0, True), (0.2, False)])
async def test_only_calls_that_run_out_of_time_cut_the_least(remaining_s: float, *, is_cut: bool) -> None:
    """A caller that changes its mind, such as one that hedges, says nothing of how many are too many."""
    now_s = 100.0
    shedding = ServerShedding(now=lambda: now_s)

    async def cancelled(_call: Call) -> bytes | None:
        nonlocal now_s
        now_s += 0.05
        raise asyncio.CancelledError

    shedding.applies_to(call_of("Echo").method)
    for _ in range(500):
        with suppress(asyncio.CancelledError):
            await shedding.intercept(call_of("Echo", DEADLINE_S - remaining_s, {TIMEOUT_MS: "x"}), cancelled)

    assert (shedding._gradients[f"{ECHO}Echo"].limit < LEAST) == is_cut


def test_health_and_streams() -> None:
    """Health is never shed, and the length of a stream says nothing."""
    shedding = ServerShedding(["grpc.health.v1.Health"])

    assert not shedding.applies_to(find_method(HEALTH))
    assert shedding.applies_to(find_method(f"{ECHO}EchoMany"))
    assert not shedding._gradients


@needs_queue_delay
async def test_a_server_under_load_sheds_and_stays_healthy(serve_echo: ServeEcho, logs: list[EventDict]) -> None:
    """Of 80 calls at once some are answered, some told when to come back; health knows nothing of it."""
    echo = await serve_echo(shed_queue_delay_s=0.02, deadline_factor=4)
    health = HealthStub(echo.bare_channel())
    stub, pauses_s = echo.stub(), []
    await stub.Echo(HI)  # until then it is not known how many calls a connection takes

    async def hook() -> None:
        time.sleep(0.02)  # noqa: ASYNC251 - as a handler that lets the loop do nothing else

    async def call() -> str:
        try:
            return (await stub.Echo(HI)).text
        except ServiceError as error:
            if isinstance(error, Overloaded):
                pauses_s.append(error.retry_after_s or 0)
            return error.reason_name()

    echo.servicer.hook = hook  # type: ignore[method-assign]  # what the hook is for
    outcomes = asyncio.gather(*(call() for _ in range(80)))
    answers = [await health.Check(HealthCheckRequest()) for _ in range(5)]  # type: ignore[attr-defined]  # its types know no attributes

    assert {"hi", "OVERLOADED"} <= set(await outcomes)
    assert all(INTERVAL_S <= pause_s <= 3 * INTERVAL_S for pause_s in pauses_s)
    assert [answer.status for answer in answers] == [1] * 5
    lines = [line for line in logs if line["event"] == "shedding"]
    assert 1 <= len(lines) <= 20
    assert set(lines[0]) == {"event", "log_level", "normal"}
