"""Deadlines: every call has one, and no call outlives the call it serves."""

from __future__ import annotations

import asyncio
import math
import time
from functools import partial
from typing import TYPE_CHECKING

from contracts.errors import DeadlineExceeded
from interceptors.client import ClientCall, ClientInterceptor
from interceptors.context import CallContext, current_context
from interceptors.deadline_ledger import DEADLINE_LEDGER, add_callee, hop_entry, whole_ledger
from interceptors.server import Call, ServerInterceptor

if TYPE_CHECKING:
    from contracts.method import Method
    from interceptors.client import Finish
    from interceptors.server import Proceed

# The milliseconds that the caller gives a call as it sends it: less remains on arrival where the call has waited.
# Where gRPC's core sends a call again (grpc-previous-rpc-attempts), the attempts before are in the difference too.
TIMEOUT_MS = "x-timeout-ms"
# Less than this is not worth beginning with.
LEAST_TIME_S = 0.005
# What a service keeps of its own time to answer in, when it calls another.
RESERVE_S = 0.010
RESERVE_RATIO = 0.05
# gRPC's core rounds a deadline up by as much when it sends it.
CORE_ROUNDING = 1.01


def time_for_callee(remaining_s: float) -> float:
    """Return how long a sub-call may take when `remaining_s` is left of the call it serves.

    What is kept back is 5 % of what remains and at least 10 ms; at 0 or less the sub-call may not begin.
    """
    return remaining_s - max(RESERVE_S, RESERVE_RATIO * remaining_s)


def remaining_s() -> float | None:
    """Return the seconds left of the call or the detached work that this task belongs to, or None outside of both."""
    context = current_context()
    if context is None or context.deadline is None:
        return None
    return context.deadline - time.monotonic()


class ServerDeadline(ServerInterceptor):
    """Ends a call at the caller's deadline or the contract's ceiling, whichever is sooner, and refuses what is late.

    The ceiling is `factor` times what the contract says; a call without a deadline gets it, and is logged with
    `without_deadline`. At the caller's own deadline it is gRPC's core that cancels the handler. The answer of
    every call that was begun carries the ledger of its deadline, and so does the log line of one that ran out of time.

    >>> ask(ServerDeadline(), timeout_s=1.0)
    'hi'
    >>> ask(ServerDeadline(factor=0.001))  # 2 ms are not worth beginning with
    'DEADLINE_EXCEEDED'
    """

    def __init__(self, factor: float = 1.0) -> None:
        self._factor = factor

    def applies_to(self, method: Method) -> bool:
        return math.isfinite(method.policy.deadline_s)

    async def intercept(self, call: Call, proceed: Proceed) -> bytes | None:
        began, context = time.monotonic(), current_context()
        remaining_s, ceiling_s = call.remaining_s, call.method.policy.deadline_s * self._factor
        if remaining_s == math.inf:
            call.notes["without_deadline"] = True
        budget_s = call.allowed_s = min(remaining_s, ceiling_s)
        if budget_s < LEAST_TIME_S:
            raise DeadlineExceeded("The call arrived with no time left to serve it.")
        if context is not None:
            context.deadline, context.ledger = began + budget_s, []
        try:
            if remaining_s <= ceiling_s * CORE_ROUNDING:  # gRPC's core ends the call
                reply = await proceed(call)
            else:
                reply = await _within(budget_s, call, proceed)
        except BaseException as error:
            ledger = _close_ledger(call, context, began)
            if _is_out_of_time(error, call):
                call.notes["ledger"] = ledger
            if _is_overrun_of_callee(error, context):
                raise _overrun(call, budget_s) from error
            raise
        _close_ledger(call, context, began)
        return reply


async def _within(budget_s: float, call: Call, proceed: Proceed) -> bytes | None:
    try:
        async with asyncio.timeout(budget_s) as limit:
            return await proceed(call)
    except TimeoutError as error:
        if not limit.expired():  # the handler's own timeout, not this one
            raise
        raise _overrun(call, budget_s) from error


def _overrun(call: Call, budget_s: float) -> DeadlineExceeded:
    return DeadlineExceeded(f"{call.method.full_name} did not finish in {budget_s:.3g} s.")


def _is_out_of_time(error: BaseException, call: Call) -> bool:
    return isinstance(error, DeadlineExceeded) or (
        isinstance(error, asyncio.CancelledError) and call.is_out_of_time()  # by gRPC's core
    )


def _is_overrun_of_callee(error: BaseException, context: CallContext | None) -> bool:
    """Tell whether a callee has used up all the time that the call itself had."""
    has_run_out = context is not None and context.has_run_out
    return has_run_out and isinstance(error, DeadlineExceeded) and bool(error.callee)


def _close_ledger(call: Call, context: CallContext | None, began: float) -> str:
    """Write the ledger into the call's trailing metadata, and return it."""
    ledger = hop_entry(call.method.full_name, time.monotonic() - began, call.allowed_s)
    if context is not None and context.ledger:
        ledger = whole_ledger(ledger, context.ledger)
    call.trailing.append((DEADLINE_LEDGER, ledger))
    return ledger


class ClientDeadline(ClientInterceptor):
    """Gives every call the contract's deadline, or less: what the caller asks for, or what the call it serves has left.

    The contract's deadline counts `factor` times. A call for which nothing is left raises DeadlineExceeded and is not
    sent. What a callee's answer says of its deadline goes into the ledger of the call being served. Where that call
    runs out of time because its callee used up all that it had left, it is the call's own deadline that has passed, and
    no outage of the callee.
    """

    def __init__(self, factor: float = 1.0) -> None:
        self._factor = factor

    def start(self, call: ClientCall) -> Finish | None:
        limit_s = call.method.policy.deadline_s * self._factor
        if call.timeout_s is not None:
            limit_s = min(limit_s, call.timeout_s)
        finish: Finish | None = None
        context = current_context()
        if context is not None and context.deadline is not None:
            now = time.monotonic()
            left_s = time_for_callee(context.deadline - now)
            takes_all = left_s <= limit_s
            limit_s = min(left_s, limit_s)
            if left_s <= 0:
                context.has_run_out = True
            if context.ledger is not None:
                finish = partial(_note_end, call, context, context.ledger, now, takes_all)
        if limit_s <= 0:
            raise DeadlineExceeded(f"No time is left to call {call.method.full_name}.")
        if math.isfinite(limit_s):
            call.timeout_s = limit_s
            call.metadata.append((TIMEOUT_MS, str(math.ceil(limit_s * 1000))))
        else:
            call.timeout_s = None
        return finish


def _note_end(
    call: ClientCall,
    context: CallContext,
    ledger: list[str],
    began: float,
    takes_all: bool,  # noqa: FBT001 - bound once, above
    error: BaseException | None,
) -> None:
    if takes_all and isinstance(error, DeadlineExceeded):
        context.has_run_out = True
    measured = hop_entry(call.method.full_name, time.monotonic() - began, call.timeout_s or 0)
    add_callee(ledger, measured, call.trailing.get(DEADLINE_LEDGER))
