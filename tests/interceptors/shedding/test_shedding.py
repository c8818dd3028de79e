from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress
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
    from collections.abc import Mapping

    from structlog.typing import EventDict

    from tests.support.echo_server import ServeEcho

ECHO = "/solo60.example.v1.EchoService/"
HEALTH = "/grpc.health.v1.Health/Check"
HI = EchoRequest(text="hi")
DEADLINE_S = 0.25


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
    remaining_s = DEADLINE_S - waited_s
    context = cast("Any", ServicerContextStub(remaining_s))
    return Call(find_method(path), context, sent, b"", remaining_on_arrival_s=remaining_s)


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
        call = call_of("Echo", DEADLINE_S - remaining_s, {TIMEOUT_MS: "x"})
        call.began_s = now_s
        with suppress(asyncio.CancelledError):
            await shedding.intercept(call, cancelled)

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
