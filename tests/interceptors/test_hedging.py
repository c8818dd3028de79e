from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest

from contracts.errors import Overloaded, ServiceError, SlotTaken, Unavailable
from contracts.method import find_method
from contracts.policy import Hedge
from interceptors.api_key import ClientApiKey
from interceptors.chained_channel import ChainedChannel
from interceptors.client import ClientCall, ClientInterceptor
from interceptors.context import ClientContext
from interceptors.deadline import TIMEOUT_MS, ClientDeadline
from interceptors.errors import HEDGE_ATTEMPT
from interceptors.hedging import ClientHedging
from interceptors.retry_budget import RetryBudgets
from interceptors.server import Call, ServerInterceptor
from solo60.example.v1 import echo_pb2
from solo60.example.v1.echo_pb2_grpc import EchoServiceStub, add_EchoServiceServicer_to_server
from tests.support.echo import EchoServicer
from tests.support.echo_server import Endless

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from interceptors.client import Attempt, Finish
    from interceptors.server import Proceed
    from solo60.example.v1.echo_pb2_grpc import EchoServiceAsyncStub
    from tests.support.echo_server import EchoServer, ServeEcho

# Whatever ends before that is cancelled by its caller, and not for want of time.
PATIENCE_S = 60.0
HEDGED = echo_pb2.EchoHedgedRequest(text="hi")
SERVICE = "solo60.example.v1.EchoService"


class Attempts:
    """What each attempt meets at the server, in the order of arrival; where nothing is said, it is answered."""

    def __init__(self, echo: EchoServer) -> None:
        self.plan: list[Endless | BaseException] = []
        self.count = 0
        self.two_came = asyncio.Event()
        echo.servicer.hook = self._meet  # type: ignore[method-assign]  # what the hook is for

    async def _meet(self) -> None:
        number, self.count = self.count, self.count + 1
        if self.count == 2:
            self.two_came.set()
        met = self.plan[number] if number < len(self.plan) else None
        if isinstance(met, BaseException):
            raise met
        if met is not None:
            await met()


class Counted(ClientInterceptor):
    """Keeps how many attempts each call took."""

    def __init__(self) -> None:
        self.attempts: list[int] = []

    def start(self, call: ClientCall) -> Finish:
        return lambda _error: self.attempts.append(call.attempts)


@pytest.fixture
async def echo(serve_echo: ServeEcho) -> EchoServer:
    """Start a server that gives calls all the time they want."""
    return await serve_echo(deadline_factor=1000.0)


async def cancelled(attempt: Endless) -> None:
    """Wait until the attempt is cancelled at the server; fail when it is not."""
    async with asyncio.timeout(PATIENCE_S):
        await attempt.cancelled.wait()


@pytest.fixture
def attempts(echo: EchoServer) -> Attempts:
    """Plan what the attempts meet."""
    return Attempts(echo)


@pytest.fixture
def budgets() -> RetryBudgets:
    """Make the budgets of the test's caller."""
    return RetryBudgets()


@pytest.fixture
def counted() -> Counted:
    """Count the attempts of each call."""
    return Counted()


@pytest.fixture
async def stub(echo: EchoServer, budgets: RetryBudgets, counted: Counted) -> AsyncIterator[EchoServiceAsyncStub]:
    """Call with hedging."""
    chain = [counted, ClientDeadline(1000.0), ClientContext(), ClientApiKey(lambda: echo.key), ClientHedging(budgets)]
    async with ChainedChannel(grpc.aio.insecure_channel(echo.address), chain) as channel:
        yield EchoServiceStub(channel)


async def test_the_second_attempt_answers_where_the_first_is_slow(
    stub: EchoServiceAsyncStub, attempts: Attempts, counted: Counted
) -> None:
    """T-a9: the first good answer counts, and the attempt that has lost is cancelled at the server."""
    attempts.plan = [slow := Endless()]

    assert (await stub.EchoHedged(HEDGED)).text == "hi"

    await cancelled(slow)
    assert attempts.count == 2
    assert counted.attempts == [2]


async def test_the_first_attempt_may_still_answer(stub: EchoServiceAsyncStub, attempts: Attempts) -> None:
    """Whichever is first."""
    attempts.plan = [first := Endless(), second := Endless()]
    calling = asyncio.ensure_future(stub.EchoHedged(HEDGED))
    await second.entered.wait()

    first.is_open.set()

    assert (await calling).text == "hi"
    await cancelled(second)


async def test_a_quick_call_is_sent_once(stub: EchoServiceAsyncStub, counted: Counted) -> None:
    """T-a9: one that is answered before the delay; on a busy machine, not every one is."""
    for _ in range(20):
        await stub.EchoHedged(HEDGED)

    assert 1 in counted.attempts


@pytest.mark.parametrize(("error", "expected"), [(SlotTaken(), ServiceError), (ValueError("a bug"), ServiceError)])
async def test_an_error_that_another_attempt_would_meet_too_counts_at_once(
    stub: EchoServiceAsyncStub, attempts: Attempts, error: Exception, expected: type[Exception]
) -> None:
    """The attempt under way is cancelled."""
    attempts.plan = [slow := Endless(), error]

    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(expected):
            await stub.EchoHedged(HEDGED)

    await cancelled(slow)


async def test_a_passing_error_of_one_attempt_leaves_the_other_its_chance(
    stub: EchoServiceAsyncStub, attempts: Attempts
) -> None:
    """UNAVAILABLE of the second is no answer for the first."""
    attempts.plan = [first := Endless(), Unavailable()]
    calling = asyncio.ensure_future(stub.EchoHedged(HEDGED))
    await first.entered.wait()
    await attempts.two_came.wait()

    first.is_open.set()

    assert (await calling).text == "hi"


async def test_where_all_attempts_fail_the_first_error_is_raised(
    stub: EchoServiceAsyncStub, attempts: Attempts, counted: Counted
) -> None:
    """As the class that it is."""

    class Fails(Endless):
        async def __call__(self) -> None:
            await super().__call__()
            raise Unavailable("The first.")

    attempts.plan = [first := Fails(), Overloaded("The second.")]
    calling = asyncio.ensure_future(stub.EchoHedged(HEDGED))
    await attempts.two_came.wait()
    first.is_open.set()

    with pytest.raises((Unavailable, Overloaded)):
        await calling

    assert counted.attempts == [2]


async def test_a_call_that_fails_is_not_sent_again() -> None:
    """Hedging is for what is slow; what fails is retried by gRPC's core, as the contract says."""
    call = ClientCall(find_method(f"/{SERVICE}/EchoHedged"), [], None)

    async def fail() -> None:
        raise grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata())

    def attempt(**_details: object) -> asyncio.Task[None]:
        return asyncio.create_task(fail())

    with pytest.raises(grpc.aio.AioRpcError):
        await hedged(call, attempt, delay_s=PATIENCE_S)

    assert call.attempts == 1


async def test_nothing_is_hedged_while_the_budget_is_used_up(
    stub: EchoServiceAsyncStub, attempts: Attempts, budgets: RetryBudgets
) -> None:
    """T-a9: the failures of all methods of the service count."""
    attempts.plan = [Unavailable()] * 10
    for _ in range(10):
        with pytest.raises(Unavailable):
            await stub.Echo(echo_pb2.EchoRequest(text="hi"))
    attempts.plan, attempts.count = [slow := Endless()], 0
    assert budgets.of(SERVICE).tokens == 10

    calling = asyncio.ensure_future(stub.EchoHedged(HEDGED))
    await slow.entered.wait()
    await asyncio.sleep(0.2)  # nothing to wait for: nothing is to happen
    slow.is_open.set()
    await calling

    assert attempts.count == 1


def hedged(call: ClientCall, attempt: Attempt, *, delay_s: float) -> Any:  # noqa: ANN401 - a call of grpc.aio
    """Send a call up to three times, after each delay, and return it."""
    ClientHedging(RetryBudgets()).start(call)
    assert isinstance(call.send, partial)
    return call.send.func(Hedge(delay_s, 3), *call.send.args[1:], call, attempt)


@pytest.mark.parametrize(("trailing", "sent"), [((("grpc-retry-pushback-ms", "100"),), 2), ((), 3)])
async def test_an_attempt_that_is_pushed_back_is_the_last(trailing: tuple[tuple[str, str], ...], sent: int) -> None:
    """What is under way may still answer."""
    call = ClientCall(find_method(f"/{SERVICE}/EchoHedged"), [], None)
    all_sent, answers = asyncio.Event(), 0

    async def answer() -> str:
        nonlocal answers
        answers += 1
        if answers == 2:
            raise grpc.aio.AioRpcError(
                grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(*trailing), "Not now."
            )
        if answers == 3:
            all_sent.set()
        await all_sent.wait()
        return "hi"

    def attempt(**_details: object) -> asyncio.Task[str]:
        return asyncio.create_task(answer())

    calling = asyncio.ensure_future(hedged(call, attempt, delay_s=0.01))
    if trailing:
        await asyncio.sleep(0.3)  # nothing to wait for: nothing is to happen
        all_sent.set()

    assert await calling == "hi"
    assert call.attempts == sent


async def test_a_caller_that_gives_up_cancels_every_attempt(stub: EchoServiceAsyncStub, attempts: Attempts) -> None:
    """Nobody works for a caller that is gone."""
    attempts.plan = [first := Endless(), second := Endless()]
    calling = asyncio.ensure_future(stub.EchoHedged(HEDGED))
    await second.entered.wait()

    calling.cancel()

    await cancelled(first)
    await cancelled(second)


class Seen(ServerInterceptor):
    """Keeps the metadata of each call."""

    def __init__(self) -> None:
        self.metadata: list[Mapping[str, str]] = []

    async def intercept(self, call: Call, proceed: Proceed) -> bytes | None:
        sent = call.context.invocation_metadata() or ()
        assert [key for key, _ in sent].count(TIMEOUT_MS) == 1
        self.metadata.append(dict(call.metadata))
        return await proceed(call)


async def test_all_attempts_are_one_call(attempts_seen: tuple[EchoServiceAsyncStub, Seen]) -> None:
    """S6: the same metadata, but for the number of the attempt and the time that is left."""
    stub, seen = attempts_seen

    await stub.EchoHedged(HEDGED, metadata=(("idempotency-key", "k-1"),))

    first, second = seen.metadata
    own = {HEDGE_ATTEMPT, TIMEOUT_MS}
    assert HEDGE_ATTEMPT not in first
    assert second[HEDGE_ATTEMPT] == "1"
    assert int(second[TIMEOUT_MS]) <= int(first[TIMEOUT_MS]) - 50
    assert {k: v for k, v in first.items() if k not in own} == {k: v for k, v in second.items() if k not in own}
    assert second["idempotency-key"] == "k-1"


@pytest.fixture
async def attempts_seen() -> AsyncIterator[tuple[EchoServiceAsyncStub, Seen]]:
    """Serve with an interceptor that sees every attempt, the first of which gets no answer."""
    seen, plan = Seen(), [Endless()]

    class Servicer(EchoServicer):
        async def hook(self) -> None:
            if plan:
                await plan.pop()()

    server = grpc.aio.server(interceptors=[seen])
    add_EchoServiceServicer_to_server(Servicer(), server)  # type: ignore[abstract]  # Promise is but promised
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    chain = [ClientDeadline(5.0), ClientContext(), ClientHedging(RetryBudgets())]
    async with ChainedChannel(grpc.aio.insecure_channel(f"127.0.0.1:{port}"), chain) as channel:
        # Attempts that both wait for a connection go out in any order.
        await channel.channel_ready()
        yield EchoServiceStub(channel), seen
    await server.stop(0)
