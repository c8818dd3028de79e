from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import grpc
import grpc.aio
import pytest
from hypothesis import given
from hypothesis import strategies as st

import interceptors.deadline
from contracts.errors import DeadlineExceeded, Internal
from contracts.method import find_method
from interceptors.client import ClientCall
from interceptors.context import current_context, detached_work
from interceptors.deadline import ClientDeadline, remaining_s, time_for_callee
from solo60.example.v1 import echo_pb2
from solo60.example.v1.echo_pb2_grpc import EchoServiceStub
from tests.support.echo_server import Endless
from tests.support.serving import DEADLINE_FACTOR

if TYPE_CHECKING:
    from structlog.typing import EventDict

    from tests.support.echo_server import EchoServer, ServeEcho

HI = echo_pb2.EchoRequest(text="hi")
ECHO = "/solo60.example.v1.EchoService/Echo"
CONTRACT_S = 2.0
# What it becomes for the servers of most tests, so that none of them depends on speed.
STRETCHED_S = CONTRACT_S * DEADLINE_FACTOR
# gRPC's core rounds a deadline up when it sends it.
ROUNDING = 1.01


def budgets(echo: EchoServer) -> list[float]:
    """Let every handler note how many seconds it has."""
    seen: list[float] = []

    async def hook() -> None:
        seen.append(remaining_s() or 0)

    echo.servicer.hook = hook  # type: ignore[method-assign]  # what the hook is for
    return seen


async def call_with(echo: EchoServer, timeout_s: float | None) -> None:
    """Call past the client chain with this timeout."""
    stub = EchoServiceStub(echo.bare_channel())
    await stub.Echo(HI, timeout=timeout_s, metadata=(("x-api-key", echo.key),))


@pytest.mark.parametrize(("asked_s", "sent_s"), [(None, CONTRACT_S), (0.5, 0.5), (60, CONTRACT_S)])
async def test_every_outgoing_call_carries_a_deadline(asked_s: float | None, sent_s: float) -> None:
    """The contract's, or the caller's if that is shorter."""
    call = ClientCall(find_method(ECHO), [], asked_s)

    ClientDeadline().start(call)

    assert call.timeout_s == sent_s
    assert call.metadata == [("x-timeout-ms", str(int(sent_s * 1000)))]


@pytest.mark.parametrize(("asked_s", "ceiling_s"), [(None, STRETCHED_S), (60, STRETCHED_S), (5, 5 * ROUNDING)])
async def test_the_server_allows_no_more_than_the_contract(
    echo: EchoServer, asked_s: float | None, ceiling_s: float
) -> None:
    """A caller that asks for more, or sets no deadline at all, gets the contract's."""
    seen = budgets(echo)

    await call_with(echo, asked_s)

    assert 0 < seen[0] <= ceiling_s


@pytest.mark.parametrize("factor", [5.0, 30.0])
async def test_a_setting_stretches_the_deadline_of_the_contract(serve_echo: ServeEcho, factor: float) -> None:
    """DEADLINE_FACTOR counts at the client and at the server, so that one can sit in a debugger."""
    echo = await serve_echo(deadline_factor=factor)
    seen = budgets(echo)

    await echo.stub().Echo(HI)
    await call_with(echo, None)

    sent_s, ceiling_s = seen
    assert factor * CONTRACT_S / 2 < sent_s <= factor * CONTRACT_S * ROUNDING
    assert factor * CONTRACT_S / 2 < ceiling_s <= factor * CONTRACT_S


async def test_a_call_without_a_deadline_ends_at_the_contracts(serve_echo: ServeEcho) -> None:
    """The server itself ends it, and the handler is cancelled."""
    echo = await serve_echo(deadline_factor=0.1)
    hook = echo.servicer.hook = Endless()  # type: ignore[method-assign]  # what the hook is for

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call_with(echo, None)

    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert caught.value.details() == "solo60.example.v1.EchoService/Echo did not finish in 0.2 s."
    await hook.cancelled.wait()


async def test_a_sub_call_has_less_time_than_the_call_it_serves(serve_echo: ServeEcho) -> None:
    """What is left, minus a reserve to answer in."""
    front, back = await serve_echo(), await serve_echo()
    seen, stub, left = budgets(back), back.stub(), []

    async def hook() -> None:
        left.append(remaining_s() or 0)
        await stub.Echo(HI)

    front.servicer.hook = hook  # type: ignore[method-assign]  # what the hook is for
    await front.stub().Echo(HI, timeout=STRETCHED_S / 2)

    assert 0 < seen[0] <= time_for_callee(left[0]) * ROUNDING < left[0]


async def test_a_sub_call_without_time_is_not_sent(serve_echo: ServeEcho, logs: list[EventDict]) -> None:
    """Where nothing is left, there is no call on the wire, and the caller hears DEADLINE_EXCEEDED."""
    front, back = await serve_echo(), await serve_echo()
    stub, errors = back.stub(), []

    async def hook() -> None:
        context = current_context()
        assert context is not None
        context.deadline = time.monotonic() + 0.009
        try:
            await stub.Echo(HI)
        except DeadlineExceeded as error:
            errors.append(error)
            raise

    front.servicer.hook = hook  # type: ignore[method-assign]  # what the hook is for
    with pytest.raises(DeadlineExceeded):
        await front.stub().Echo(HI)

    assert [error.message for error in errors] == ["No time is left to call solo60.example.v1.EchoService/Echo."]
    assert back.servicer.entered == 0
    assert len([line for line in logs if line["event"] == "call"]) == 1


async def test_a_call_that_arrives_too_late_enters_no_handler(
    echo: EchoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With less than what is worth beginning with, nothing is begun."""
    stub = echo.stub()
    await stub.Echo(HI)
    monkeypatch.setattr(interceptors.deadline, "LEAST_TIME_S", 2 * STRETCHED_S)

    with pytest.raises(DeadlineExceeded) as caught:
        await stub.Echo(HI)

    assert caught.value.message == "The call arrived with no time left to serve it."
    assert echo.servicer.entered == 1


async def test_a_timeout_of_the_handlers_own_is_its_fault(echo: EchoServer) -> None:
    """TimeoutError says nothing about whose time is up: only the call's own deadline is told as one."""

    async def hook() -> None:
        raise TimeoutError

    echo.servicer.hook = hook  # type: ignore[method-assign]  # what the hook is for

    with pytest.raises(Internal):
        await echo.stub().Echo(HI)


@pytest.mark.requirement("L3")
@pytest.mark.parametrize(("budget_s", "least_s", "most_s"), [(30.0, CONTRACT_S, CONTRACT_S), (1.0, 0.0, 0.95)])
async def test_work_that_no_call_waits_for_has_a_budget_of_its_own(
    budget_s: float, least_s: float, most_s: float
) -> None:
    """Background work is bounded by its own calls' contracts, and by what is left of its budget."""
    call = ClientCall(find_method(ECHO), [], None)

    with detached_work(budget_s=budget_s):
        ClientDeadline().start(call)

    assert least_s <= (call.timeout_s or 0) <= most_s
    assert call.finishing == []


@pytest.mark.requirement("L3")
async def test_work_whose_budget_is_spent_makes_no_more_calls() -> None:
    """Nobody waits for it, so it is the next call that ends it."""
    with (
        detached_work(budget_s=0.005),
        pytest.raises(DeadlineExceeded, match="No time is left to call"),
    ):
        ClientDeadline().start(ClientCall(find_method(ECHO), [], None))


@pytest.mark.requirement("L3")
async def test_the_work_of_a_call_is_not_bounded_by_it_once_it_is_detached(echo: EchoServer) -> None:
    """What outlives a call begins with all of its own budget, and the call goes on with its own deadline."""
    seen: list[float] = []

    async def hook() -> None:
        with detached_work(budget_s=60.0):
            seen.append(remaining_s() or 0)
        seen.append(remaining_s() or 0)

    echo.servicer.hook = hook  # type: ignore[method-assign]  # what the hook is for
    await echo.stub().Echo(HI)

    assert seen[0] > STRETCHED_S > seen[1] > 0


async def test_a_call_to_grpcs_own_services_may_last_for_ever() -> None:
    """Health is watched without end; an infinite deadline would be an expired one on the wire."""
    call = ClientCall(find_method("/grpc.health.v1.Health/Watch"), [], None)

    ClientDeadline().start(call)

    assert call.timeout_s is None
    assert call.metadata == []


@given(st.floats(0, 3600), st.floats(0, 3600))
def test_more_time_is_never_less_for_the_callee(one_s: float, other_s: float) -> None:
    """The reserve grows with what is left, and never faster."""
    shorter, longer = sorted([one_s, other_s])

    assert time_for_callee(shorter) <= time_for_callee(longer)
    assert math.isfinite(time_for_callee(longer))
