from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest

import interceptors.hedging
from contracts.errors import Overloaded, ServiceError, SlotTaken, Unavailable
from contracts.method import find_method
from contracts.policy import Hedge
from interceptors.chain.channel import ChainedChannel
from interceptors.chain.client import ClientCall, ClientInterceptor
from interceptors.chain.metadata import HEDGE_ATTEMPT
from interceptors.chain.server import ServerInterceptor
from interceptors.deadline.interceptor import TIMEOUT_MS, ClientDeadline
from interceptors.hedging import ClientHedging, HedgedCall
from interceptors.hedging import _send_hedged as send_hedged
from interceptors.keys.interceptor import ClientApiKey
from interceptors.propagation import ClientContext
from interceptors.retry_budget import RetryBudgets
from solo60.example.v1 import echo_pb2
from solo60.example.v1.echo_pb2_grpc import EchoServiceStub, add_EchoServiceServicer_to_server
from tests.support.echo import EchoServicer
from tests.support.echo_server import Endless

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from interceptors.chain.call import Call, Proceed
    from interceptors.chain.client import Attempt, ClientFinish
    from solo60.example.v1.echo_pb2_grpc import EchoServiceAsyncStub
    from tests.support.echo_server import EchoServer, ServeEcho

# Timeout of the tests, far below the deadlines of their calls, so that no call ends by its deadline.
TIMEOUT_S = 60.0
HEDGED = echo_pb2.EchoHedgedRequest(text="hi")
SERVICE = "solo60.example.v1.EchoService"


class Attempts:
    """Planned behaviour of each attempt at the server, in the order of arrival.

    Attempts beyond the plan are answered.
    """

    def __init__(self, echo: EchoServer) -> None:
        self.plan: list[Endless | BaseException] = []
        self.count = 0
        self.two_arrived = asyncio.Event()
        echo.servicer.hook = self._handle

    async def _handle(self) -> None:
        number, self.count = self.count, self.count + 1
        if self.count == 2:
            self.two_arrived.set()
        planned = self.plan[number] if number < len(self.plan) else None
        if isinstance(planned, BaseException):
            raise planned
        if planned is not None:
            await planned()


class AttemptCounter(ClientInterceptor):
    """Interceptor that records the number of attempts of each call."""

    def __init__(self) -> None:
        self.attempts: list[int] = []

    def start(self, call: ClientCall) -> ClientFinish:
        return lambda _call, _error: self.attempts.append(call.attempts)


@pytest.fixture
async def echo(serve_echo: ServeEcho) -> EchoServer:
    """Start a server with very long deadlines."""
    return await serve_echo(deadline_factor=1000.0)


async def until_cancelled(attempt: Endless) -> None:
    """Wait until the attempt is cancelled at the server, and fail if it is not."""
    async with asyncio.timeout(TIMEOUT_S):
        await attempt.cancelled.wait()


@pytest.fixture
def attempts(echo: EchoServer) -> Attempts:
    """Return the plan of attempts."""
    return Attempts(echo)


@pytest.fixture
def budgets() -> RetryBudgets:
    """Return the retry budgets of the test's caller."""
    return RetryBudgets()


@pytest.fixture
def counter() -> AttemptCounter:
    """Return the counter of attempts."""
    return AttemptCounter()


@pytest.fixture
async def stub(echo: EchoServer, budgets: RetryBudgets, counter: AttemptCounter) -> AsyncIterator[EchoServiceAsyncStub]:
    """Return a stub with hedging."""
    chain = [counter, ClientDeadline(1000.0), ClientContext(), ClientApiKey(lambda: echo.key), ClientHedging(budgets)]
    async with ChainedChannel(grpc.aio.insecure_channel(echo.address), chain) as channel:
        yield EchoServiceStub(channel)


def send_with_delay(hedge: Hedge, _declared: Hedge, *arguments: Any) -> HedgedCall:
    """Send a call with `hedge` in place of the policy in its contract."""
    return send_hedged(hedge, *arguments)


async def test_the_second_attempt_answers_a_slow_call(
    stub: EchoServiceAsyncStub, attempts: Attempts, counter: AttemptCounter
) -> None:
    """If the first attempt is slow, the second one answers the call, and the first is cancelled at the server."""
    attempts.plan = [slow := Endless()]

    assert (await stub.EchoHedged(HEDGED)).text == "hi"

    await until_cancelled(slow)
    assert attempts.count == 2
    assert counter.attempts == [2]


async def test_the_first_attempt_may_still_answer(stub: EchoServiceAsyncStub, attempts: Attempts) -> None:
    """The first attempt answers the call if it is faster than the second, which is then cancelled."""
    attempts.plan = [first := Endless(), second := Endless()]
    calling = asyncio.ensure_future(stub.EchoHedged(HEDGED))
    await second.entered.wait()

    first.is_open.set()

    assert (await calling).text == "hi"
    await until_cancelled(second)


async def test_a_quick_call_is_sent_once(
    stub: EchoServiceAsyncStub, attempts: Attempts, counter: AttemptCounter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that is answered before the hedging delay takes one attempt."""
    # With the contract's delay, a busy machine might send a second attempt.
    monkeypatch.setattr(interceptors.hedging, "_send_hedged", partial(send_with_delay, Hedge(TIMEOUT_S, 2)))
    for _ in range(20):
        await stub.EchoHedged(HEDGED)

    assert counter.attempts == [1] * 20
    assert attempts.count == 20


@pytest.mark.parametrize(("error", "expected"), [(SlotTaken(), ServiceError), (ValueError("a bug"), ServiceError)])
async def test_a_fatal_error_of_an_attempt_ends_the_call(
    stub: EchoServiceAsyncStub, attempts: Attempts, error: Exception, expected: type[Exception]
) -> None:
    """A fatal error of one attempt ends the call at once and cancels the other attempt."""
    attempts.plan = [slow := Endless(), error]

    async with asyncio.timeout(TIMEOUT_S):
        with pytest.raises(expected):
            await stub.EchoHedged(HEDGED)

    await until_cancelled(slow)


async def test_a_transient_error_of_one_attempt_is_ignored(stub: EchoServiceAsyncStub, attempts: Attempts) -> None:
    """The first attempt still answers the call if the second fails with UNAVAILABLE."""
    attempts.plan = [first := Endless(), Unavailable()]
    calling = asyncio.ensure_future(stub.EchoHedged(HEDGED))
    await first.entered.wait()
    await attempts.two_arrived.wait()

    first.is_open.set()

    assert (await calling).text == "hi"


async def test_a_call_fails_if_all_its_attempts_fail(
    stub: EchoServiceAsyncStub, attempts: Attempts, counter: AttemptCounter
) -> None:
    """If all attempts fail, the call raises the error of one of them."""

    class FailingAttempt(Endless):
        async def __call__(self) -> None:
            await super().__call__()
            raise Unavailable("The first.")

    attempts.plan = [first := FailingAttempt(), Overloaded("The second.")]
    calling = asyncio.ensure_future(stub.EchoHedged(HEDGED))
    await attempts.two_arrived.wait()
    first.is_open.set()

    with pytest.raises((Unavailable, Overloaded)):
        await calling

    assert counter.attempts == [2]


async def test_a_failed_call_is_not_hedged() -> None:
    """A call that fails before the hedging delay is not sent again, because gRPC's core does the retries."""
    call = ClientCall(find_method(f"/{SERVICE}/EchoHedged"), [], None)

    async def fail() -> None:
        raise grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata())

    def attempt(**_details: object) -> asyncio.Task[None]:
        return asyncio.create_task(fail())

    with pytest.raises(grpc.aio.AioRpcError):
        await hedged(call, attempt, delay_s=TIMEOUT_S)

    assert call.attempts == 1


async def test_an_exhausted_budget_stops_hedging(
    stub: EchoServiceAsyncStub, attempts: Attempts, budgets: RetryBudgets
) -> None:
    """No call is hedged while the retry budget of the service is exhausted by failures of any method."""
    attempts.plan = [Unavailable()] * 10
    for _ in range(10):
        with pytest.raises(Unavailable):
            await stub.Echo(echo_pb2.EchoRequest(text="hi"))
    attempts.plan, attempts.count = [slow := Endless()], 0
    assert budgets.of(SERVICE)._tokens == 10

    calling = asyncio.ensure_future(stub.EchoHedged(HEDGED))
    await slow.entered.wait()
    await asyncio.sleep(0.2)  # no event to wait for: nothing must happen
    slow.is_open.set()
    await calling

    assert attempts.count == 1


def hedged(call: ClientCall, attempt: Attempt, *, delay_s: float) -> Any:
    """Start a call that is hedged after each delay, with at most three attempts, and return it."""
    ClientHedging(RetryBudgets()).start(call)
    assert isinstance(call.send, partial)
    return call.send.func(Hedge(delay_s, 3), *call.send.args[1:], call, attempt)


@pytest.mark.parametrize(("trailing", "sent"), [((("grpc-retry-pushback-ms", "100"),), 2), ((), 3)])
async def test_a_pushback_stops_further_attempts(trailing: tuple[tuple[str, str], ...], sent: int) -> None:
    """After a pushback no further attempt is sent, but attempts in flight may still answer."""
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
        await asyncio.sleep(0.3)  # no event to wait for: nothing must happen
        all_sent.set()

    assert await calling == "hi"
    assert call.attempts == sent


async def test_cancelling_a_hedged_call_cancels_every_attempt(stub: EchoServiceAsyncStub, attempts: Attempts) -> None:
    """Cancelling a hedged call cancels all its attempts at the server."""
    attempts.plan = [first := Endless(), second := Endless()]
    calling = asyncio.ensure_future(stub.EchoHedged(HEDGED))
    await second.entered.wait()

    calling.cancel()

    await until_cancelled(first)
    await until_cancelled(second)


class MetadataRecorder(ServerInterceptor):
    """Interceptor that records the metadata of each call."""

    def __init__(self) -> None:
        self.metadata: list[Mapping[str, str]] = []

    async def intercept(self, call: Call, proceed: Proceed) -> bytes | None:
        sent = call.servicer_context.invocation_metadata() or ()
        assert [key for key, _ in sent].count(TIMEOUT_MS) == 1
        self.metadata.append(dict(call.metadata))
        return await proceed(call)


@pytest.mark.requirement("S6")
async def test_all_attempts_carry_the_same_metadata(
    attempts_seen: tuple[EchoServiceAsyncStub, MetadataRecorder],
) -> None:
    """All attempts of a call carry the same metadata, except for the number of the attempt and the remaining time."""
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
async def attempts_seen() -> AsyncIterator[tuple[EchoServiceAsyncStub, MetadataRecorder]]:
    """Serve with an interceptor that records every attempt. The first attempt gets no answer."""
    seen, plan = MetadataRecorder(), [Endless()]

    class Servicer(EchoServicer):
        async def hook(self) -> None:
            if plan:
                await plan.pop()()

    server = grpc.aio.server(interceptors=[seen])
    add_EchoServiceServicer_to_server(Servicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    chain = [ClientDeadline(5.0), ClientContext(), ClientHedging(RetryBudgets())]
    async with ChainedChannel(grpc.aio.insecure_channel(f"127.0.0.1:{port}"), chain) as channel:
        # Attempts that wait for the connection are sent in any order, so the test connects first.
        await channel.channel_ready()
        yield EchoServiceStub(channel), seen
    await server.stop(0)
