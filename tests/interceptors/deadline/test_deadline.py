from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import grpc
import grpc.aio
import pytest
from hypothesis import given
from hypothesis import strategies as st

import interceptors.deadline.interceptor
from contracts.errors import DeadlineExceeded, Internal
from contracts.method import find_method
from interceptors.chain.client import ClientCall
from interceptors.context import current_context, detached_work
from interceptors.deadline.interceptor import ClientDeadline, remaining_s, time_for_callee
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
# Deadline of the contract on most test servers, so long that no test depends on speed.
STRETCHED_S = CONTRACT_S * DEADLINE_FACTOR
# gRPC's core rounds a deadline up when it sends it.
ROUNDING = 1.01


def record_remaining_s(echo: EchoServer) -> list[float]:
    """Make every handler record its remaining seconds."""
    seen: list[float] = []

    async def hook() -> None:
        seen.append(remaining_s() or 0)

    echo.servicer.hook = hook
    return seen


async def call_with(echo: EchoServer, timeout_s: float | None) -> None:
    """Call with this timeout without the client chain."""
    stub = EchoServiceStub(echo.bare_channel())
    await stub.Echo(HI, timeout=timeout_s, metadata=(("x-api-key", echo.key),))


@pytest.mark.parametrize(("requested_s", "sent_s"), [(None, CONTRACT_S), (0.5, 0.5), (60, CONTRACT_S)])
async def test_every_outgoing_call_carries_a_deadline(requested_s: float | None, sent_s: float) -> None:
    """An outgoing call has the deadline of the contract, or the caller's if that is shorter."""
    call = ClientCall(find_method(ECHO), [], requested_s)

    ClientDeadline().start_of(call.method)(call)

    assert call.timeout_s == sent_s
    assert call.metadata == [("x-timeout-ms", str(int(sent_s * 1000)))]


@pytest.mark.parametrize(("requested_s", "sent_s"), [(None, 0.8), (0.5, 0.5)])
async def test_a_client_can_limit_all_its_calls(requested_s: float | None, sent_s: float) -> None:
    """No call of a client with `longest_s` takes longer, although its contract allows more."""
    call = ClientCall(find_method(ECHO), [], requested_s)

    ClientDeadline(longest_s=0.8).start_of(call.method)(call)

    assert call.timeout_s == sent_s


@pytest.mark.parametrize(("requested_s", "ceiling_s"), [(None, STRETCHED_S), (60, STRETCHED_S), (5, 5 * ROUNDING)])
async def test_the_server_limits_the_deadline_to_the_contract(
    echo: EchoServer, requested_s: float | None, ceiling_s: float
) -> None:
    """A call with a longer deadline, or with none, gets the deadline of the contract at the server."""
    seen = record_remaining_s(echo)

    await call_with(echo, requested_s)

    assert 0 < seen[0] <= ceiling_s


@pytest.mark.parametrize("factor", [5.0, 30.0])
async def test_deadline_factor_extends_the_contracts_deadline(serve_echo: ServeEcho, factor: float) -> None:
    """DEADLINE_FACTOR multiplies the contract's deadline at the client and at the server."""
    echo = await serve_echo(deadline_factor=factor)
    seen = record_remaining_s(echo)

    await echo.stub().Echo(HI)
    await call_with(echo, None)

    sent_s, ceiling_s = seen
    assert factor * CONTRACT_S / 2 < sent_s <= factor * CONTRACT_S * ROUNDING
    assert factor * CONTRACT_S / 2 < ceiling_s <= factor * CONTRACT_S


async def test_the_server_ends_a_call_without_a_deadline(serve_echo: ServeEcho) -> None:
    """The server ends a call without a deadline at the contract's deadline and cancels its handler."""
    echo = await serve_echo(deadline_factor=0.1)
    hook = echo.servicer.hook = Endless()

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call_with(echo, None)

    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert caught.value.details() == "solo60.example.v1.EchoService/Echo did not finish in 0.2 s."
    await hook.cancelled.wait()


async def test_a_sub_call_has_less_time_than_its_parent(serve_echo: ServeEcho) -> None:
    """A sub-call gets the remaining time of its parent, minus a reserve for the answer."""
    front, back = await serve_echo(), await serve_echo()
    seen, stub, left = record_remaining_s(back), back.stub(), []

    async def hook() -> None:
        left.append(remaining_s() or 0)
        await stub.Echo(HI)

    front.servicer.hook = hook
    await front.stub().Echo(HI, timeout=STRETCHED_S / 2)

    assert 0 < seen[0] <= time_for_callee(left[0]) * ROUNDING < left[0]


async def test_a_sub_call_without_time_is_not_sent(serve_echo: ServeEcho, logs: list[EventDict]) -> None:
    """A sub-call without remaining time is not sent, and its caller gets DeadlineExceeded."""
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

    front.servicer.hook = hook
    with pytest.raises(DeadlineExceeded):
        await front.stub().Echo(HI)

    assert [error.message for error in errors] == ["No time is left to call solo60.example.v1.EchoService/Echo."]
    assert back.servicer.entered == 0
    assert len([line for line in logs if line["event"] == "call"]) == 1


async def test_a_late_call_enters_no_handler(echo: EchoServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that arrives with less than MIN_TIME_S is rejected before its handler."""
    stub = echo.stub()
    await stub.Echo(HI)
    monkeypatch.setattr(interceptors.deadline.interceptor, "MIN_TIME_S", 2 * STRETCHED_S)

    with pytest.raises(DeadlineExceeded) as caught:
        await stub.Echo(HI)

    assert caught.value.message == "The call arrived with no time left to serve it."
    assert echo.servicer.entered == 1


async def test_a_timeout_error_of_a_handler_is_internal(echo: EchoServer) -> None:
    """A handler's TimeoutError is Internal, not DeadlineExceeded, because the call's deadline has not passed."""

    async def hook() -> None:
        raise TimeoutError

    echo.servicer.hook = hook

    with pytest.raises(Internal):
        await echo.stub().Echo(HI)


@pytest.mark.requirement("L3")
@pytest.mark.parametrize(("budget_s", "least_s", "most_s"), [(30.0, CONTRACT_S, CONTRACT_S), (1.0, 0.0, 0.95)])
async def test_detached_work_has_its_own_budget(budget_s: float, least_s: float, most_s: float) -> None:
    """Calls of detached work are limited by their contracts and by the remaining budget of the work."""
    with detached_work(budget_s=budget_s):
        call = ClientCall(find_method(ECHO), [], None)
        ClientDeadline().start_of(call.method)(call)

    assert least_s <= (call.timeout_s or 0) <= most_s
    assert call.finish_callbacks == []


@pytest.mark.requirement("L3")
async def test_detached_work_without_budget_makes_no_calls() -> None:
    """Detached work without remaining budget cannot make further calls."""
    with (
        detached_work(budget_s=0.005),
        pytest.raises(DeadlineExceeded, match="No time is left to call"),
    ):
        ClientDeadline().start_of(find_method(ECHO))(ClientCall(find_method(ECHO), [], None))


@pytest.mark.requirement("L3")
async def test_detached_work_is_not_limited_by_its_call(echo: EchoServer) -> None:
    """Work detached within a call has its own full budget, and does not change the deadline of the call."""
    seen: list[float] = []

    async def hook() -> None:
        with detached_work(budget_s=60.0):
            seen.append(remaining_s() or 0)
        seen.append(remaining_s() or 0)

    echo.servicer.hook = hook
    await echo.stub().Echo(HI)

    assert seen[0] > STRETCHED_S > seen[1] > 0


async def test_calls_of_grpcs_own_services_have_no_deadline() -> None:
    """Calls to gRPC's own services get no deadline, because a client watches health without end."""
    call = ClientCall(find_method("/grpc.health.v1.Health/Watch"), [], None)

    ClientDeadline().start_of(call.method)(call)

    assert call.timeout_s is None
    assert call.metadata == []


@given(st.floats(0, 3600), st.floats(0, 3600))
def test_the_callees_time_grows_with_the_callers(one_s: float, other_s: float) -> None:
    """The time for a callee never shrinks when the remaining time of its caller grows."""
    shorter, longer = sorted([one_s, other_s])

    assert time_for_callee(shorter) <= time_for_callee(longer)
    assert math.isfinite(time_for_callee(longer))
