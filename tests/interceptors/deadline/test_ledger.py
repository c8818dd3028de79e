from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import ServiceError, SlotTaken
from contracts.method import find_method
from interceptors.chain.client import ClientCall
from interceptors.context import current_context, detached_work
from interceptors.deadline.interceptor import ClientDeadline
from interceptors.deadline.ledger import (
    DEADLINE_LEDGER,
    MAX_BYTES,
    MAX_HOPS,
    TRUNCATED,
    Hop,
    add_callee,
    full_ledger,
    hop_entry,
    read_ledger,
)
from solo60.example.v1 import echo_pb2
from tests.support.echo_server import Endless
from tests.support.serving import DEADLINE_FACTOR

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from structlog.typing import EventDict

    from tests.support.echo_server import EchoServer, ServeEcho

HI = echo_pb2.EchoRequest(text="hi")
ECHO = "solo60.example.v1.EchoService/Echo"
CHARGE = "solo60.payment.v1.PaymentService/Charge"


def parse(ledger: str) -> list[Hop]:
    """Parse a ledger from trailing metadata."""
    return read_ledger([("x-correlation-id", "abc"), (DEADLINE_LEDGER, ledger)])


async def hops_of(call: Any) -> list[Hop]:
    """Return the ledger of an ended call."""
    return read_ledger(await call.trailing_metadata())


def forward_calls(front: EchoServer, *steps: Callable[[], Awaitable[object]]) -> None:
    """Make the handler of `front` run these steps, and ignore their ServiceErrors."""

    async def hook() -> None:
        for step in steps:
            with suppress(ServiceError):
                await step()

    front.servicer.hook = hook


async def test_an_answer_reports_its_time_spent_and_allowed(echo: EchoServer) -> None:
    """The ledger of a call without sub-calls has one hop, with its spent and allowed time."""
    call: Any = echo.stub().Echo(HI)
    await call

    [hop] = await hops_of(call)

    assert (hop.method, hop.depth, hop.sent_ledger) == (ECHO, 0, True)
    assert 0 <= hop.spent_ms <= hop.allowed_ms <= 2000 * DEADLINE_FACTOR


async def test_sub_calls_follow_one_level_deeper(serve_echo: ServeEcho) -> None:
    """A ledger lists sub-calls one level deeper, in the order of their ends.

    Each level has less time than its parent.
    """
    front, middle, back = await serve_echo(), await serve_echo(), await serve_echo()
    stub, deepest = middle.stub(), back.stub()

    async def stream() -> None:
        async for _ in deepest.EchoMany(echo_pb2.EchoManyRequest(text="hi", repeat=2)):
            pass

    forward_calls(middle, lambda: deepest.Echo(HI), stream)
    forward_calls(front, lambda: stub.Echo(HI))
    call: Any = front.stub().Echo(HI)
    await call

    hops = await hops_of(call)

    assert [(hop.depth, hop.method) for hop in hops] == [
        (0, ECHO),
        (1, ECHO),
        (2, ECHO),
        (2, "solo60.example.v1.EchoService/EchoMany"),
    ]
    assert all(hop.sent_ledger for hop in hops)
    assert hops[0].allowed_ms > hops[1].allowed_ms > hops[2].allowed_ms


async def test_a_failed_sub_call_is_in_the_ledger(serve_echo: ServeEcho) -> None:
    """A failed sub-call is listed in its caller's ledger as answered."""
    front, back = await serve_echo(), await serve_echo()

    async def reject() -> None:
        raise SlotTaken

    back.servicer.hook = reject
    stub = back.stub()
    forward_calls(front, lambda: stub.Echo(HI))
    call: Any = front.stub().Echo(HI)
    await call

    assert [(hop.depth, hop.sent_ledger) for hop in await hops_of(call)] == [(0, True), (1, True)]


async def test_an_unanswered_sub_call_is_in_the_logged_ledger(serve_echo: ServeEcho, logs: list[EventDict]) -> None:
    """The log line of an expired call lists a sub-call that never answered, with the time measured by its caller."""
    front, back = await serve_echo(), await serve_echo()
    hook = back.servicer.hook = Endless()
    stub = back.stub()

    async def call_back() -> None:
        await stub.Echo(HI)

    front.servicer.hook = call_back
    caller = front.stub()
    await hook.until_out_of_time(lambda: caller.Echo(HI, timeout=0.3))
    await front.shut_down()
    await back.shut_down()

    ledgers = [parse(line["ledger"]) for line in logs if "ledger" in line]
    assert {tuple((hop.depth, hop.sent_ledger) for hop in ledger) for ledger in ledgers} == {
        ((0, True),),
        ((0, True), (1, False)),
    }


async def test_a_call_outside_of_a_handler_has_no_context(echo: EchoServer) -> None:
    """A call outside of any handler has no call context, and neither it nor detached work has a ledger to extend."""
    await echo.stub().Echo(HI)
    assert current_context() is None

    call = ClientCall(find_method(f"/{ECHO}"), [], None)
    assert ClientDeadline().start_of(call.method)(call) is None
    with detached_work() as context:
        assert ClientDeadline().start_of(call.method)(call) is None
        assert context.ledger is None


def test_a_ledger_round_trips() -> None:
    """A written ledger is parsed back with methods, depths and milliseconds spent and allowed."""
    callees: list[str] = []
    add_callee(callees, "unused 0/0", full_ledger(hop_entry(CHARGE, 0.12, 9.3), []))
    add_callee(callees, hop_entry(ECHO, 0.5, 0.5), None)

    written = full_ledger(hop_entry("a.B/C", 0.312, 10), callees)

    assert written == f"a.B/C 312/10000, >{CHARGE} 120/9300, >{ECHO} 500/500?"
    assert parse(written) == [
        Hop("a.B/C", 312, 10_000),
        Hop(CHARGE, 120, 9300, depth=1),
        Hop(ECHO, 500, 500, depth=1, sent_ledger=False),
    ]


@pytest.mark.parametrize(
    "hostile",
    [
        b"a.B/C 1/2",
        "",
        "a.B/C 1/2\n",
        "a.B/C 1/2 level=error",
        "a.B/C 1234567890/2",
        "a.B/C -1/2",
        "a.B/Ç 1/2",
        "a.B/C ¹/2",
        ">" * 16 + "a.B/C 1/2",
        "a" * 300 + "/C 1/2",
        "a.B/C 1/2, " * 1000,
    ],
)
def test_a_malformed_ledger_is_dropped(hostile: object) -> None:
    """A malformed ledger of a callee is replaced by the caller's own measurement.

    Log lines must not contain malformed text.
    """
    ledger: list[str] = []

    add_callee(ledger, "a.B/C 3/4", hostile)

    assert ledger == [">a.B/C 3/4?"]


def test_a_ledger_is_read_up_to_its_first_malformed_hop() -> None:
    """Hops before the first malformed one are parsed, and the rest is dropped."""
    assert [hop.method for hop in parse("a.B/C 1/2, >d.E/F 1/2, level=error, >g.H/I 1/2")] == ["a.B/C", "d.E/F"]


@given(st.lists(st.lists(st.text("aB.", min_size=1, max_size=190), min_size=1, max_size=30), max_size=40))
def test_a_ledger_is_bounded_and_always_readable(callees: list[list[str]]) -> None:
    """A ledger has at most 20 hops and 2 KiB, can always be parsed, and ends with a mark if hops were dropped."""
    ledger: list[str] = []
    for methods in callees:
        entries = [f"a{method}/C 1/2" for method in methods]
        add_callee(ledger, "a.B/C 3/4", full_ledger(entries[0], entries[1:]))

    written = full_ledger("a.B/C 1/2", ledger)

    assert len(written) <= MAX_BYTES
    assert written.isascii()
    assert len(ledger) <= 2 * MAX_HOPS + 1
    hops = parse(written)
    assert len(hops) <= MAX_HOPS
    assert len(hops) == len(written.split(", ")) - written.split(", ").count(TRUNCATED)
    if sum(map(len, callees)) >= MAX_HOPS:
        assert written.endswith(TRUNCATED)


@given(st.text(max_size=3000) | st.from_regex(r"(>*a\.B/C \d+/\d+\??(, )?)+", fullmatch=True))
def test_no_callee_can_break_the_ledger(received: str) -> None:
    """No ledger of a callee can make its caller's ledger invalid."""
    ledger: list[str] = []

    add_callee(ledger, "a.B/C 3/4", received)

    assert parse(full_ledger("a.B/C 1/2", ledger))[0] == Hop("a.B/C", 1, 2)
    assert all(entry == TRUNCATED or entry.startswith(">") for entry in ledger)
