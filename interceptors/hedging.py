"""Request hedging: a slow call is sent again, and the first response counts (gRFC A6).

gRPC's core does not offer hedging in Python. Only methods without side effects declare it, and it applies to unary
calls only.
"""

from __future__ import annotations

import asyncio
import math
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc.aio
from google.protobuf import descriptor_pool

from contracts.codes import TRANSIENT
from contracts.method import Method, methods_of
from contracts.status import error_of_outcome
from interceptors.chain.client import ClientCall, ClientInterceptor
from interceptors.chain.metadata import HEDGE_ATTEMPT, PUSHBACK_MS
from interceptors.chain.sent_metadata import SentMetadata
from interceptors.deadline.interceptor import TIMEOUT_MS

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

    from contracts.policy import Hedge
    from interceptors.chain.client import Attempt, ClientFinish, Send
    from interceptors.chain.untyped import AnyAttribute, AnyCall
    from interceptors.retry_budget import RetryBudget, RetryBudgets


class ClientHedging(ClientInterceptor):
    """Client interceptor that sends slow calls again if their contract declares it and the retry budget allows it.

    The first response ends the call and cancels the other attempts. So does the first error that another attempt would
    get too. All attempts carry the same metadata and share one deadline. Each further attempt carries its number in
    `x-hedge-attempt` and is not retried. After a pushback no further attempt is sent. If all attempts fail, the first
    error is raised.

    >>> from interceptors.retry_budget import RetryBudgets
    >>> call_echo(clients=[ClientHedging(RetryBudgets())])
    'hi'
    """

    def __init__(self, budgets: RetryBudgets) -> None:
        self._budgets = budgets
        self._plans: dict[str, tuple[Send | None, ClientFinish]] = {}

    def applies_to(self, method: Method) -> bool:
        # A service without hedged methods needs no budget, so its calls cost nothing here.
        return any(
            each.policy.hedge for each in methods_of(descriptor_pool.Default().FindServiceByName(method.service))
        )

    def start(self, call: ClientCall) -> ClientFinish:
        plan = self._plans.get(call.method.path)
        if plan is None:
            plan = self._plans[call.method.path] = self._plan_of(call.method)
        call.send, finish = plan
        return finish

    def _plan_of(self, method: Method) -> tuple[Send | None, ClientFinish]:
        budget = self._budgets.of(method.service)
        hedge, is_unary = method.policy.hedge, not (method.request_streaming or method.response_streaming)
        return partial(_send_hedged, hedge, budget) if hedge and is_unary else None, partial(_record_outcome, budget)


def _record_outcome(budget: RetryBudget, _call: ClientCall, error: BaseException | None) -> None:
    budget.record(failed=error is not None and error_of_outcome(error).code in TRANSIENT)


class HedgedCall:
    """Call object for several attempts, with the interface of grpc.aio's calls and the end of the deciding attempt."""

    def __init__(self, first: AnyCall, race: Coroutine[Any, Any, Any]) -> None:
        self._first = first
        self._race = asyncio.get_running_loop().create_task(race)

    def __repr__(self) -> str:
        return repr(self._race.result() if self._is_decided() else self._first)

    def __await__(self) -> Generator[Any, None, Any]:
        rpc = yield from self._race
        return (yield from rpc.__await__())

    def add_done_callback(self, callback: Callable[[HedgedCall], None]) -> None:
        self._race.add_done_callback(lambda _: callback(self))

    def cancel(self) -> bool:
        return self._race.cancel()

    def cancelled(self) -> bool:
        return self._race.cancelled() or (self._is_decided() and self._race.result().cancelled())

    def done(self) -> bool:
        return self._race.done()

    def time_remaining(self) -> float | None:
        # Further attempts get the rest of this time.
        remaining_s: float | None = self._first.time_remaining()
        return remaining_s

    async def wait_for_connection(self) -> None:
        await (await self._race).wait_for_connection()

    async def code(self) -> AnyAttribute:
        return await self._from_attempt("code", grpc.StatusCode.CANCELLED)

    async def details(self) -> AnyAttribute:
        return await self._from_attempt("details", "Locally cancelled by application!")  # same text as in grpc.aio

    async def initial_metadata(self) -> AnyAttribute:
        return await self._from_attempt("initial_metadata", grpc.aio.Metadata())

    async def trailing_metadata(self) -> AnyAttribute:
        return await self._from_attempt("trailing_metadata", grpc.aio.Metadata())

    async def debug_error_string(self) -> AnyAttribute:
        return await self._from_attempt("debug_error_string", None)

    def _is_decided(self) -> bool:
        return self._race.done() and not self._race.cancelled() and self._race.exception() is None

    async def _from_attempt(self, attribute: str, default: object) -> AnyAttribute:
        """Wait for the end; return `attribute` of the deciding attempt, or `default` if the call was cancelled."""
        if not self._race.done():
            await asyncio.wait([self._race])
        return default if self._race.cancelled() else await getattr(self._race.result(), attribute)()


def _send_hedged(hedge: Hedge, budget: RetryBudget, call: ClientCall, attempt: Attempt) -> HedgedCall:
    first = attempt(timeout=call.timeout_s, metadata=SentMetadata(call.metadata))
    return HedgedCall(first, _race(hedge, budget, call, attempt, first))


async def _race(hedge: Hedge, budget: RetryBudget, call: ClientCall, attempt: Attempt, first: AnyCall) -> AnyCall:
    began = time.monotonic()
    may_send = True
    failed: list[Any] = []
    pending = {_start_task(first): first}
    try:
        while pending:
            wait_s = hedge.delay_s if may_send and call.attempts < hedge.max_attempts else None
            done, _ = await asyncio.wait(pending, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                may_send = budget.spend()
                if may_send:
                    further = _send_further(call, attempt, time.monotonic() - began)
                    pending[_start_task(further)] = further
                    call.attempts += 1
            for task in sorted(done, key=_has_failed):
                rpc, error = pending.pop(task), task.exception()
                if not isinstance(error, grpc.aio.AioRpcError) or error.code() not in TRANSIENT:
                    return rpc
                may_send = may_send and PUSHBACK_MS not in dict(error.trailing_metadata())
                failed.append(rpc)
        return failed[0]
    finally:
        for task in pending:
            task.cancel()


def _start_task(rpc: AnyCall) -> asyncio.Task[Any]:
    task = asyncio.get_running_loop().create_task(_wait_for_end(rpc))
    task.add_done_callback(_has_failed)  # without it, asyncio logs "exception was never retrieved"
    return task


async def _wait_for_end(rpc: AnyCall) -> None:
    await rpc


def _has_failed(task: asyncio.Task[Any]) -> bool:
    return not task.cancelled() and task.exception() is not None


def _send_further(call: ClientCall, attempt: Attempt, passed_s: float) -> AnyCall:
    """Send a further attempt with the remaining time."""
    metadata = [each for each in call.metadata if each[0] != TIMEOUT_MS]
    metadata.append((HEDGE_ATTEMPT, str(call.attempts)))
    left_s = None
    if call.timeout_s is not None:
        left_s = max(call.timeout_s - passed_s, 0.0)
        metadata.append((TIMEOUT_MS, str(math.ceil(left_s * 1000))))
    return attempt(timeout=left_s, metadata=SentMetadata(metadata))
