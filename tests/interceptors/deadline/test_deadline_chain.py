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
from interceptors.deadline.interceptor import CORE_ROUNDING, time_for_callee
from solo60.example.v1 import echo_pb2

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

    from solo60.example.v1.echo_pb2_grpc import EchoServiceAsyncStub
    from tests.support.echo_server import EchoServer, ServeEcho

HI = echo_pb2.EchoRequest(text="hi")
SERVICES = 4
ALLOWED_S = 0.3
# A busy machine may record an end late, but not by ten times the deadline.
TOLERANCE_S = 10 * ALLOWED_S
# A slow machine may not reach all four services in time. Such a call proves nothing, so the test tries again.
TRIES = 20
# A caller may cancel a late call before the server's own clock reaches the deadline.
OUT_OF_TIME = {"DEADLINE_EXCEEDED", "CANCELLED"}


class Chain:
    """Four services that call one after the other and record their events. The last one never answers."""

    def __init__(self, servers: list[EchoServer]) -> None:
        self.servers = servers
        self.events: list[tuple[str, int]] = []
        self.is_at_rest = asyncio.Event()
        self.is_at_rest.set()
        for number, server in enumerate(servers):
            following = servers[number + 1].stub() if number + 1 < len(servers) else None
            server.servicer.hook = self._work(number, following)

    def _work(self, number: int, following: EchoServiceAsyncStub | None) -> Any:
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
        """Return the sorted numbers of the services with this event."""
        return sorted(number for what, number in self.events if what == event)

    async def served_since(self, began_ns: int) -> list[ReadableSpan]:
        """Shut all services down, and return the server spans that started at or after `began_ns`."""
        for server in self.servers:
            await server.shut_down()
        spans = [span for server in self.servers for span in server.spans()]
        return [span for span in spans if span.kind is SpanKind.SERVER and (span.start_time or 0) >= began_ns]


def outcomes(spans: list[ReadableSpan]) -> set[object]:
    """Return the status codes of the spans."""
    return {(span.attributes or {}).get("rpc.status_code") for span in spans}


async def test_a_chain_stops_all_work_at_its_deadline(serve_echo: ServeEcho) -> None:
    """After a deadline of 300 ms, no service of a chain of four goes on, and all their spans end."""
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


async def test_an_expired_chain_is_no_outage(serve_echo: ServeEcho) -> None:
    """An expired chain's calls end as DEADLINE_EXCEEDED or CANCELLED, never as UNAVAILABLE, which would be retried."""
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
    """In any chain, no hop has a later deadline than the hop before it, and each has a reserve for its answer.

    Each hop works first, then calls under its own contract, and gRPC's core rounds the sent deadline up.
    """
    rng = random.Random(seed)  # noqa: S311 - simulated times, no secret
    budget_s, hops = 10 ** rng.uniform(-3, math.log10(60)), rng.randint(1, 4)
    for _ in range(hops):
        left_s = budget_s * rng.random()
        timeout_s = min(time_for_callee(left_s), 10 ** rng.uniform(-3, math.log10(60)))
        assert timeout_s <= left_s - 0.010
        assert timeout_s <= left_s * 0.95 + 1e-9
        if timeout_s <= 0:
            break  # nothing is sent
        arrived_s = timeout_s * rng.uniform(1, CORE_ROUNDING)
        assert arrived_s < left_s
        budget_s = arrived_s
