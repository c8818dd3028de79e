from __future__ import annotations

import asyncio
import math
import random
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.trace import SpanKind

from contracts.errors import DeadlineExceeded
from interceptors.deadline import CORE_ROUNDING, time_for_callee
from solo60.example.v1 import echo_pb2

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

    from solo60.example.v1.echo_pb2_grpc import EchoServiceAsyncStub
    from tests.support.echo_server import EchoServer, ServeEcho

HI = echo_pb2.EchoRequest(text="hi")
SERVICES = 4
ALLOWED_S = 0.3
# On a machine that stands still now and then, an end is seen late; ten times the deadline would be no accident.
TOLERANCE_S = 10 * ALLOWED_S
# A machine may be too slow for all four to be reached in time: then the call proves nothing, and another is made.
TRIES = 20
# A call that arrives late is given up by its caller before its own server's clock says so.
OUT_OF_TIME = {"DEADLINE_EXCEEDED", "CANCELLED"}


class Chain:
    """Four services, each of which calls the next one; the last one never answers. They note what they do."""

    def __init__(self, servers: list[EchoServer]) -> None:
        self.servers = servers
        self.events: list[tuple[str, int]] = []
        self.is_at_rest = asyncio.Event()
        self.is_at_rest.set()
        for number, server in enumerate(servers):
            following = servers[number + 1].stub() if number + 1 < len(servers) else None
            server.servicer.hook = self._work(number, following)  # type: ignore[method-assign]  # what the hook is for

    def _work(self, number: int, following: EchoServiceAsyncStub | None) -> Any:  # noqa: ANN401 - a hook
        async def hook() -> None:
            self._note("entered", number)
            try:
                await (following.Echo(HI) if following else asyncio.Event().wait())
            finally:
                self._note("left", number)
            self._note("went on", number)

        return hook

    def _note(self, event: str, number: int) -> None:
        self.events.append((event, number))
        if self.numbers("entered") == self.numbers("left"):
            self.is_at_rest.set()
        else:
            self.is_at_rest.clear()

    def numbers(self, event: str) -> list[int]:
        """Return which services did this, in their order."""
        return sorted(number for what, number in self.events if what == event)

    async def served_since(self, began_ns: int) -> list[ReadableSpan]:
        """Shut all services down, and return the spans of what they have worked on since then."""
        for server in self.servers:
            await server.shut_down()
        spans = [span for server in self.servers for span in server.spans()]
        return [span for span in spans if span.kind is SpanKind.SERVER and (span.start_time or 0) >= began_ns]


def outcomes(spans: list[ReadableSpan]) -> set[object]:
    """Return the status codes with which the calls ended."""
    return {(span.attributes or {}).get("rpc.status_code") for span in spans}


async def test_a_chain_of_four_services_does_no_work_after_its_deadline(serve_echo: ServeEcho) -> None:
    """The caller allows 300 ms; the spans prove that after that nothing is done for it, anywhere."""
    chain = Chain([await serve_echo() for _ in range(SERVICES)])
    caller = chain.servers[0].stub()
    for _ in range(TRIES):
        chain.events.clear()
        began_ns = time.time_ns()
        with pytest.raises(DeadlineExceeded):
            await caller.Echo(HI, timeout=ALLOWED_S)
        await chain.is_at_rest.wait()
        if len(chain.numbers("entered")) == SERVICES:
            break

    spans = await chain.served_since(began_ns)

    assert chain.numbers("entered") == chain.numbers("left") == list(range(SERVICES))
    assert chain.numbers("went on") == []
    assert len(spans) == SERVICES
    assert outcomes(spans) <= OUT_OF_TIME
    assert max(span.end_time or 0 for span in spans) <= began_ns + (ALLOWED_S + TOLERANCE_S) * 1e9


async def test_a_chain_that_runs_out_of_time_is_no_outage(serve_echo: ServeEcho) -> None:
    """Whoever waits for a callee that had all that was left has run out of time itself: nobody is to call again."""
    chain = Chain([await serve_echo() for _ in range(SERVICES)])

    for _ in range(3):
        with pytest.raises(DeadlineExceeded):
            await chain.servers[0].stub().Echo(HI, timeout=ALLOWED_S)
    await chain.is_at_rest.wait()
    spans = await chain.served_since(0)

    assert outcomes(spans) <= OUT_OF_TIME


@settings(max_examples=1_000)
@given(seed=st.integers(0, 2**32))
def test_the_time_shrinks_with_every_hop(seed: int) -> None:
    """Over any chain no hop's deadline is later than the one before, and each has a reserve to answer in.

    Each hop does work of its own first, then calls under a contract of its own, and the core rounds up what it sends.
    """
    rng = random.Random(seed)  # noqa: S311 - it spreads, and guards nothing
    budget_s, hops = 10 ** rng.uniform(-3, math.log10(60)), rng.randint(1, 4)
    for _ in range(hops):
        left_s = budget_s * rng.random()
        given_s = min(time_for_callee(left_s), 10 ** rng.uniform(-3, math.log10(60)))
        assert given_s <= left_s - 0.010
        assert given_s <= left_s * 0.95 + 1e-9
        if given_s <= 0:
            break  # nothing is sent
        arrived_s = given_s * rng.uniform(1, CORE_ROUNDING)
        assert arrived_s < left_s
        budget_s = arrived_s
