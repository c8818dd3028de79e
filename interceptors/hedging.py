"""Hedging: a call that stays unanswered is sent once more, and the first answer counts (gRFC A6).

gRPC's core does not offer it to Python. Only methods without side effects declare it, and only their unary calls do it.
"""

from __future__ import annotations

import asyncio
import math
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc.aio
from google.protobuf import descriptor_pool

from contracts.method import OUR_PACKAGE, Method, methods_of
from interceptors.client import ClientCall, ClientInterceptor
from interceptors.deadline import TIMEOUT_MS
from interceptors.errors import HEDGE_ATTEMPT, PUSHBACK_MS, TRANSIENT, error_of_outcome

if TYPE_CHECKING:
    from contracts.policy import Hedge
    from interceptors.client import Attempt, Finish, Send
    from interceptors.retry_budget import RetryBudget, RetryBudgets


class ClientHedging(ClientInterceptor):
    """Sends a call again when its contract says so and it stays unanswered, as long as the retry budget allows it.

    The first answer ends the call, and so does the first error that another attempt would meet too; attempts under way
    are then cancelled. All carry the same metadata and share one deadline; each after the first says which it is in
    `x-hedge-attempt`, and is not retried. An attempt that is pushed back is the last to be sent. Where all fail, the
    first error is raised.

    >>> from interceptors.client import client_chain
    >>> from interceptors.retry_budget import RetryBudgets
    >>> ask(clients=client_chain([ClientHedging(RetryBudgets())]))
    'hi'
    """

    def __init__(self, budgets: RetryBudgets) -> None:
        self._budgets = budgets
        self._ways: dict[str, tuple[Send | None, Finish | None]] = {}

    def start(self, call: ClientCall) -> Finish | None:
        way = self._ways.get(call.method.path)
        if way is None:
            way = self._ways[call.method.path] = self._way_of(call.method)
        call.send, finish = way
        return finish

    def _way_of(self, method: Method) -> tuple[Send | None, Finish | None]:
        # Services that hedge nothing have no budget to feed: their calls cost nothing here.
        if not _is_hedged(method.service):
            return None, None
        budget = self._budgets.of(method.service)
        hedge, is_unary = method.policy.hedge, not (method.request_streaming or method.response_streaming)
        return partial(_send_hedged, hedge, budget) if hedge and is_unary else None, partial(_feed, budget)


def _is_hedged(service: str) -> bool:
    if not service.startswith(OUR_PACKAGE):
        return False
    return any(each.policy.hedge for each in methods_of(descriptor_pool.Default().FindServiceByName(service)))


def _feed(budget: RetryBudget, error: BaseException | None) -> None:
    budget.record(failed=error is not None and error_of_outcome(error).code in TRANSIENT)


async def _send_hedged(
    hedge: Hedge, budget: RetryBudget, call: ClientCall, details: grpc.aio.ClientCallDetails, attempt: Attempt
) -> Any:  # noqa: ANN401 - grpc.aio's own types are open here
    began = time.monotonic()
    may_send = True
    errors: list[grpc.aio.AioRpcError] = []
    pending = {_start(attempt(details))}
    try:
        while pending:
            wait_s = hedge.delay_s if may_send and call.attempts < hedge.max_attempts else None
            done, pending = await asyncio.wait(pending, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                may_send = budget.spend()
                if may_send:
                    pending.add(_start(attempt(_again(call, details, time.monotonic() - began))))
                    call.attempts += 1
            for task in sorted(done, key=_has_failed):
                error = task.exception()
                if error is None:
                    return task.result()
                if not isinstance(error, grpc.aio.AioRpcError) or error.code() not in TRANSIENT:
                    raise error
                may_send = may_send and PUSHBACK_MS not in dict(error.trailing_metadata())
                errors.append(error)
        raise errors[0]
    finally:
        for task in pending:
            task.cancel()


def _start(attempt: Any) -> asyncio.Task[Any]:  # noqa: ANN401 - grpc.aio's own types are open here
    task = asyncio.get_running_loop().create_task(attempt)
    task.add_done_callback(_has_failed)  # asking counts as having heard of it: nobody asks a loser
    return task


def _has_failed(task: asyncio.Task[Any]) -> bool:
    return not task.cancelled() and task.exception() is not None


def _again(call: ClientCall, details: grpc.aio.ClientCallDetails, passed_s: float) -> grpc.aio.ClientCallDetails:
    """Return the details of a further attempt, which has the time that is left."""
    metadata = [each for each in call.metadata if each[0] != TIMEOUT_MS]
    metadata.append((HEDGE_ATTEMPT, str(call.attempts)))
    left_s = None
    if call.timeout_s is not None:
        left_s = max(call.timeout_s - passed_s, 0.0)
        metadata.append((TIMEOUT_MS, str(math.ceil(left_s * 1000))))
    return grpc.aio.ClientCallDetails(
        details.method, left_s, grpc.aio.Metadata(*metadata), details.credentials, details.wait_for_ready
    )
