"""Deadlines: every call has one, and no call outlives the call it serves."""

from __future__ import annotations

import asyncio
import math
import time
from functools import partial
from typing import TYPE_CHECKING

from contracts.errors import DeadlineExceeded
from interceptors.chain.client import ClientCall, ClientInterceptor
from interceptors.chain.immediate import immediate_result
from interceptors.chain.server import ServerInterceptor
from interceptors.context import CallContext, current_context
from interceptors.deadline.ledger import DEADLINE_LEDGER, add_callee, full_ledger, hop_entry

if TYPE_CHECKING:
    from contracts.method import Method
    from interceptors.chain.call import Call, Finish, Start
    from interceptors.chain.client import ClientFinish, ClientStart

# Metadata key: milliseconds that the caller allows when it sends the call. The time left on arrival is less if the call
# had to wait. If gRPC's core retried the call (grpc-previous-rpc-attempts), the difference includes the earlier
# attempts.
TIMEOUT_MS = "x-timeout-ms"
# A call with less time than this is rejected.
MIN_TIME_S = 0.005
# Share of its remaining time that a service reserves for its own response when it calls another service.
RESERVE_S = 0.010
RESERVE_RATIO = 0.05
# gRPC's core rounds a deadline up by at most this factor when it sends it.
CORE_ROUNDING = 1.01

_TIMEOUT_SUSPENDED = "asyncio.Timeout suspended, which its enter and exit must never do."


def time_for_callee(remaining_s: float) -> float:
    """Return the seconds for a sub-call if `remaining_s` seconds are left of the call it serves.

    The reserve is 5 % of the remaining time, at least 10 ms. At 0 or less, the sub-call must not start.
    """
    return remaining_s - max(RESERVE_S, RESERVE_RATIO * remaining_s)


def remaining_s() -> float | None:
    """Return the seconds left of the current call or detached work, or None outside of both."""
    context = current_context()
    if context is None or context.deadline is None:
        return None
    return context.deadline - time.monotonic()


class ServerDeadline(ServerInterceptor):
    """Server interceptor that ends each call at its deadline and rejects calls that arrive too late.

    The deadline is the caller's or the contract's times `factor`, whichever is sooner. A call without a deadline gets
    the contract's, and its log line contains `without_deadline`. A call with less than 5 ms left raises
    DeadlineExceeded. gRPC's core enforces the caller's own deadline by cancelling the handler.

    The response of each started call carries its deadline ledger. The log line of a call that ran out of time carries
    the ledger too.

    >>> call_echo(ServerDeadline(), timeout_s=1.0)
    'hi'
    >>> call_echo(ServerDeadline(factor=0.001))  # 2 ms is too little to start
    'DEADLINE_EXCEEDED'
    """

    def __init__(self, factor: float = 1.0) -> None:
        self._factor = factor

    def applies_to(self, method: Method) -> bool:
        return math.isfinite(method.policy.deadline_s)

    def start_of(self, method: Method) -> Start:
        ceiling_s = method.policy.deadline_s * self._factor

        def start(call: Call) -> Finish:
            remaining_s, context = call.remaining_on_arrival_s, call.context
            if remaining_s == math.inf:
                call.notes["without_deadline"] = True
            budget_s = call.allowed_s = min(ceiling_s, remaining_s)
            if budget_s < MIN_TIME_S:
                raise DeadlineExceeded("The call arrived with no time left to serve it.")
            context.deadline, context.ledger = call.began_s + budget_s, []
            if remaining_s <= ceiling_s * CORE_ROUNDING:  # gRPC's core ends the call
                return _finish
            return partial(_finish_within, _begin_timeout(budget_s))

        return start


def _finish_within(limit: asyncio.Timeout, call: Call, error: BaseException | None) -> None:
    _finish(call, error, has_expired=_end_timeout(limit, error))


def _finish(call: Call, error: BaseException | None, *, has_expired: bool = False) -> None:
    ledger = _close_ledger(call)
    if error is None:
        return
    if has_expired or _is_out_of_time(error, call):
        call.notes["ledger"] = ledger
    if has_expired or _is_overrun_of_callee(error, call.context):
        raise DeadlineExceeded(f"{call.method.full_name} did not finish in {call.allowed_s:.3g} s.") from error


def _begin_timeout(budget_s: float) -> asyncio.Timeout:
    limit = asyncio.timeout(budget_s)
    immediate_result(limit.__aenter__(), _TIMEOUT_SUSPENDED)
    return limit


def _end_timeout(limit: asyncio.Timeout, error: BaseException | None) -> bool:
    """Close `limit` with the call's error; return whether `limit` caused the error."""
    try:
        immediate_result(limit.__aexit__(type(error) if error else None, error, None), _TIMEOUT_SUSPENDED)
    except TimeoutError:
        return True
    return False


def _is_out_of_time(error: BaseException, call: Call) -> bool:
    return isinstance(error, DeadlineExceeded) or (
        isinstance(error, asyncio.CancelledError) and call.is_out_of_time()  # cancelled by gRPC's core
    )


def _is_overrun_of_callee(error: BaseException, context: CallContext) -> bool:
    """Return whether a callee used up all the time of the call itself."""
    return context.callee_used_all_time and isinstance(error, DeadlineExceeded) and bool(error.callee)


def _close_ledger(call: Call) -> str:
    """Add the ledger to the call's trailing metadata and return it."""
    ledger = hop_entry(call.method.full_name, time.monotonic() - call.began_s, call.allowed_s)
    if call.context.ledger:
        ledger = full_ledger(ledger, call.context.ledger)
    call.trailing.append((DEADLINE_LEDGER, ledger))
    return ledger


class ClientDeadline(ClientInterceptor):
    """Client interceptor that gives each call a deadline.

    The deadline is the soonest of four: the contract's times `factor`, the caller's own, `longest_s` from now, and that
    of the call being served, minus a reserve. A call without any time left raises DeadlineExceeded and is not sent. The
    deadline ledger of the response is added to that of the call being served.

    If a callee uses up all the time of the call being served, that call fails with its own DEADLINE_EXCEEDED, not with
    UNAVAILABLE.
    """

    def __init__(self, factor: float = 1.0, longest_s: float = math.inf) -> None:
        self._factor = factor
        self._longest_s = longest_s

    def start_of(self, method: Method) -> ClientStart:
        longest_s = min(method.policy.deadline_s * self._factor, self._longest_s)

        def start(call: ClientCall) -> ClientFinish | None:
            limit_s = longest_s if call.timeout_s is None else min(longest_s, call.timeout_s)
            finish: ClientFinish | None = None
            context = call.served
            if context is not None and context.deadline is not None:
                left_s = time_for_callee(context.deadline - call.began_s)
                uses_all_time = left_s <= limit_s
                limit_s = min(left_s, limit_s)
                if left_s <= 0:
                    context.callee_used_all_time = True
                if context.ledger is not None:
                    finish = partial(_record_end, context, context.ledger, uses_all_time)
            if limit_s <= 0:
                raise DeadlineExceeded(f"No time is left to call {method.full_name}.")
            if limit_s == math.inf:
                call.timeout_s = None
            else:
                call.timeout_s = limit_s
                call.metadata.append((TIMEOUT_MS, str(math.ceil(limit_s * 1000))))
            return finish

        return start


def _record_end(
    context: CallContext,
    ledger: list[str],
    uses_all_time: bool,  # noqa: FBT001 - bound once, above
    call: ClientCall,
    error: BaseException | None,
) -> None:
    if uses_all_time and isinstance(error, DeadlineExceeded):
        context.callee_used_all_time = True
    measured = hop_entry(call.method.full_name, time.monotonic() - call.began_s, call.timeout_s or 0)
    add_callee(ledger, measured, call.trailing.get(DEADLINE_LEDGER))
