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
from interceptors.chain.call import Call
from interceptors.chain.metadata import PREVIOUS_ATTEMPTS
from interceptors.deadline.interceptor import TIMEOUT_MS
from interceptors.shedding.gradient import MIN_LIMIT
from interceptors.shedding.interceptor import ServerShedding, waited_before_arrival_s
from interceptors.shedding.queue_delay import INTERVAL_S
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
COST_S, REJECTION_COST_S = 0.004, 0.0004
CAPACITY = 1 / COST_S


class ServicerContextStub:
    """Context of a call with the given remaining time."""

    def __init__(self, remaining_s: float) -> None:
        self._remaining_s = remaining_s

    def time_remaining(self) -> float:
        return self._remaining_s


def call_of(name: str, waited_s: float = 0.0, metadata: Mapping[str, str] | None = None) -> Call:
    """Return a call that has waited for this long."""
    path = name if name.startswith("/") else f"{ECHO}{name}"
    sent = {TIMEOUT_MS: f"{DEADLINE_S * 1000:.0f}", **(metadata or {})}
    return Call(find_method(path), cast("Any", ServicerContextStub(DEADLINE_S - waited_s)), sent, b"")


@dataclass
class Simulation:
    """Simulated server with one queue, served in order, and a clock. It uses the real shedder."""

    queue_delay_s: float = 0.02
    now_s: float = 100.0
    latencies_s: dict[str, list[float]] = field(default_factory=dict)
    offered: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.shedding = ServerShedding((), self.queue_delay_s, now=lambda: self.now_s, rng=random.Random(1))  # noqa: S311 - a simulation
        self.shedding._loop.is_sampling = self.shedding._loop.is_busy = True

    async def send_load(self, rate: float, seconds: float, names: Sequence[str] = ("Echo",)) -> None:
        """Send calls at random times, regardless of their results."""
        rng, arrives_s, ends_s = random.Random(2), self.now_s, self.now_s + seconds  # noqa: S311 - a simulation
        self.latencies_s, self.offered = {name: [] for name in names}, dict.fromkeys(names, 0)
        while (arrives_s := arrives_s + rng.expovariate(rate)) < ends_s:
            name = rng.choice(names)
            self.offered[name] += 1
            self.now_s = max(self.now_s, arrives_s)
            await self._serve(name, arrives_s)

    async def _serve(self, name: str, arrives_s: float) -> None:
        call = call_of(name, self.now_s - arrives_s)
        self.shedding.applies_to(call.method)
        try:
            await self.shedding.intercept(call, self._handle)
        except Overloaded:
            self.now_s += REJECTION_COST_S
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
async def test_goodput_is_high_under_overload(load: float, share: float) -> None:
    """At two and four times the capacity, 85 % and 60 % of it are served in time. The p99 latency at most triples."""
    simulation = Simulation()
    await simulation.send_load(CAPACITY / 2, 10)
    unloaded_s = simulation.p99_s()

    await simulation.send_load(load * CAPACITY, 20)

    assert simulation.in_time() >= share * CAPACITY * 20
    assert simulation.p99_s() <= 3 * unloaded_s


async def test_without_shedding_goodput_collapses() -> None:
    """Without shedding, at most 10 % of the capacity is served in time.

    This proves that the simulation shows the effect of shedding.
    """
    simulation = Simulation(queue_delay_s=60.0)

    await simulation.send_load(2 * CAPACITY, 20)

    assert simulation.in_time() <= 0.1 * CAPACITY * 20


async def test_latency_recovers_soon_after_a_spike() -> None:
    """Half a second after a spike of four times the capacity, no call is shed and the p99 latency is at most 30 ms."""
    simulation = Simulation()
    await simulation.send_load(4 * CAPACITY, 30)
    await simulation.send_load(CAPACITY / 2, 0.5)

    await simulation.send_load(CAPACITY / 2, 10)

    assert len(simulation.latencies_s["Echo"]) == simulation.offered["Echo"]
    assert simulation.p99_s() <= 0.030


@pytest.mark.requirement("S3")
async def test_critical_calls_are_shed_last() -> None:
    """At twice the capacity, at least 99 % of critical and at most 5 % of sheddable calls are answered in time."""
    simulation = Simulation()
    names = ("EchoSheddable", "Echo", "EchoCritical")

    await simulation.send_load(2 * CAPACITY, 20, names)

    answered = {name: simulation.in_time(name) / simulation.offered[name] for name in names}
    assert answered["EchoCritical"] >= 0.99
    assert answered["EchoSheddable"] <= 0.05
    assert answered["EchoSheddable"] < answered["Echo"] < answered["EchoCritical"]


async def test_a_server_below_capacity_sheds_almost_nothing() -> None:
    """At 80 % of the capacity, at least 99 % of the calls are answered."""
    simulation = Simulation()

    await simulation.send_load(0.8 * CAPACITY, 20)

    assert len(simulation.latencies_s["Echo"]) >= 0.99 * simulation.offered["Echo"]


async def test_calls_delayed_elsewhere_are_served() -> None:
    """Late calls are served while the event loop is not busy, because they waited for a connection or in the caller."""
    simulation = Simulation()
    simulation.shedding._loop.is_busy = False

    for _ in range(1_000):
        simulation.now_s += 0.01
        await simulation.shedding.intercept(call_of("Echo", 0.1), simulation._handle)


async def standing(*levels: str) -> ServerShedding:
    """Return a shedder with a standing queue of 50 ms."""
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
    raise AssertionError("the queue should be standing")


async def _answer(_call: Call) -> bytes | None:
    return b""


@pytest.mark.requirement("S3")
async def test_a_shed_call_gets_a_random_retry_delay(logs: list[EventDict]) -> None:
    """A shed call raises Overloaded with a random retry delay of one to three intervals.

    A warning counts shed calls.
    """
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


async def test_a_call_below_its_target_is_served_despite_the_queue() -> None:
    """With a standing queue, calls that waited less than the target of their criticality are still served."""
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
    ids=["malformed", "too large for a float", "rounded too much", "a retry"],
)
def test_an_unknown_wait_is_none(metadata: dict[str, str]) -> None:
    """The wait of a call is unknown if its timeout is malformed or long, or if the call is a retry.

    Retries include their first attempt in the difference, and the core rounds long deadlines up.
    """
    assert waited_before_arrival_s(call_of("Echo", 0.1, metadata)) is None
    assert waited_before_arrival_s(call_of("Echo", 0.1)) == pytest.approx(0.1)
    assert waited_before_arrival_s(call_of("Echo", -0.01)) == 0.0


async def test_calls_above_the_concurrency_limit_are_shed() -> None:
    """Concurrent calls above the limit are shed, but a critical call is still served."""
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
async def test_only_expired_calls_lower_the_least_concurrency(remaining_s: float, *, is_cut: bool) -> None:
    """Calls that exceed their deadline lower the limit below MIN_LIMIT, and calls cancelled earlier do not."""
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

    assert (shedding._gradients[f"{ECHO}Echo"].limit < MIN_LIMIT) == is_cut


def test_health_checks_and_streams_have_no_concurrency_limit() -> None:
    """Health checks are never shed, and streams have no concurrency limit."""
    shedding = ServerShedding(["grpc.health.v1.Health"])

    assert not shedding.applies_to(find_method(HEALTH))
    assert shedding.applies_to(find_method(f"{ECHO}EchoMany"))
    assert not shedding._gradients


@needs_queue_delay
async def test_a_server_under_load_sheds_and_stays_healthy(serve_echo: ServeEcho, logs: list[EventDict]) -> None:
    """Of 80 concurrent calls, some are answered and some are shed with a retry delay. Health checks still succeed."""
    echo = await serve_echo(shed_queue_delay_s=0.02, deadline_factor=4)
    health = HealthStub(echo.bare_channel())
    stub, pauses_s = echo.stub(), []
    await stub.Echo(HI)  # learn the connection's limit of concurrent calls

    async def hook() -> None:
        time.sleep(0.02)  # noqa: ASYNC251 - block the event loop

    async def call() -> str:
        try:
            return (await stub.Echo(HI)).text
        except ServiceError as error:
            if isinstance(error, Overloaded):
                pauses_s.append(error.retry_after_s or 0)
            return error.reason_name()

    echo.servicer.hook = hook
    outcomes = asyncio.gather(*(call() for _ in range(80)))
    answers = [await health.Check(HealthCheckRequest()) for _ in range(5)]  # type: ignore[attr-defined]  # HealthStub declares no methods

    assert {"hi", "OVERLOADED"} <= set(await outcomes)
    assert all(INTERVAL_S <= pause_s <= 3 * INTERVAL_S for pause_s in pauses_s)
    assert [answer.status for answer in answers] == [1] * 5
    lines = [line for line in logs if line["event"] == "shedding"]
    assert 1 <= len(lines) <= 20
    assert set(lines[0]) == {"event", "log_level", "normal"}
