"""Deadlines: every call has one, and no call outlives the call it serves."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

from contracts.errors import DeadlineExceeded
from interceptors.client import ClientCall, ClientInterceptor
from interceptors.context import current_context
from interceptors.server import Call, ServerInterceptor

if TYPE_CHECKING:
    from contracts.method import Method
    from interceptors.server import Proceed

# The milliseconds that the caller gives a call as it sends it: less remains on arrival where the call has waited.
# Where gRPC's core sends a call again (grpc-previous-rpc-attempts), the attempts before are in the difference too.
TIMEOUT_MS = "x-timeout-ms"
# Less than this is not worth beginning with.
LEAST_TIME_S = 0.005
# What a service keeps of its own time to answer in, when it calls another.
RESERVE_S = 0.010
RESERVE_RATIO = 0.05


def time_for_callee(remaining_s: float) -> float:
    """Return how long a sub-call may take when `remaining_s` is left of the call it serves.

    What is kept back is 5 % of what remains and at least 10 ms; at 0 or less the sub-call may not begin.
    """
    return remaining_s - max(RESERVE_S, RESERVE_RATIO * remaining_s)


def remaining_s() -> float | None:
    """Return the seconds left of the call that this task serves, or None outside of one."""
    context = current_context()
    if context is None or context.deadline is None:
        return None
    return context.deadline - asyncio.get_running_loop().time()


class ServerDeadline(ServerInterceptor):
    """Ends a call at the caller's deadline or the contract's ceiling, whichever is sooner, and refuses what is late.

    The ceiling is `factor` times what the contract says.
    """

    def __init__(self, factor: float = 1.0) -> None:
        self._factor = factor

    def applies_to(self, method: Method) -> bool:
        return math.isfinite(method.policy.deadline_s)

    async def intercept(self, call: Call, proceed: Proceed) -> bytes | None:
        budget_s = min(call.remaining_s, call.method.policy.deadline_s * self._factor)
        if budget_s < LEAST_TIME_S:
            raise DeadlineExceeded("The call arrived with no time left to serve it.")
        context = current_context()
        if context is not None:
            context.deadline = asyncio.get_running_loop().time() + budget_s
        try:
            async with asyncio.timeout(budget_s) as limit:
                return await proceed(call)
        except TimeoutError as error:
            if not limit.expired():  # the handler's own timeout, not this one
                raise
            raise DeadlineExceeded(f"{call.method.full_name} did not finish in {budget_s:.3g} s.") from error


class ClientDeadline(ClientInterceptor):
    """Gives every call the contract's deadline, or less: what the caller asks for, or what the call it serves has left.

    The contract's deadline counts `factor` times. A call for which nothing is left raises DeadlineExceeded and is not
    sent.
    """

    def __init__(self, factor: float = 1.0) -> None:
        self._factor = factor

    def start(self, call: ClientCall) -> None:
        limits_s = [call.method.policy.deadline_s * self._factor]
        if call.timeout_s is not None:
            limits_s.append(call.timeout_s)
        left_s = remaining_s()
        if left_s is not None:
            limits_s.append(time_for_callee(left_s))
        limit_s = min(limits_s)
        if limit_s <= 0:
            raise DeadlineExceeded(f"No time is left to call {call.method.full_name}.")
        if math.isfinite(limit_s):
            call.timeout_s = limit_s
            call.metadata.append((TIMEOUT_MS, str(math.ceil(limit_s * 1000))))
        else:
            call.timeout_s = None
