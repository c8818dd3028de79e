"""Error responses of a server: every exception of a call becomes a status.

An exception other than ServiceError is a fault of the service. Its text stays in the log, and the caller gets a bare
INTERNAL with the correlation id. The same happens for a reason that the method's contract does not list. A status that
a handler sets on its context reaches the caller unchanged, as in gRPC.
"""

from __future__ import annotations

import asyncio
import math
import traceback
from typing import TYPE_CHECKING

import grpc.aio
import structlog

from contracts.declarations import undeclared_in
from contracts.errors import Internal, ServiceError
from contracts.metadata import STATUS_DETAILS
from contracts.method import find_method
from contracts.policy import ContractError
from contracts.service_error import PLATFORM_REASONS
from contracts.status import status_of_error
from interceptors.chain.metadata import HEDGE_ATTEMPT, PUSHBACK_MS
from interceptors.errors.caller_error import caller_error, is_fault, task_is_cancelled

if TYPE_CHECKING:
    from collections.abc import Callable

    from interceptors.chain.call import Call

# Pushback that forbids a further attempt.
NO_RETRY = -1

_log = structlog.stdlib.get_logger("solo60.errors")


def plain_traceback(error: BaseException) -> str:
    """Return the traceback of `error` as Python prints it, without local variables."""
    return "".join(traceback.format_exception(error)).rstrip("\n")


class ErrorResponses:
    """Outermost part of every chain, which sends each error of the chain and the handler as a rich status.

    `ServerErrors` is the same as an interceptor and documents the options. The two classes are separate, so that a
    chain without `ServerErrors` can use the defaults.
    """

    def __init__(
        self,
        *,
        pushback: bool = True,
        send_undeclared: bool = False,
        describe: Callable[[BaseException], str] = plain_traceback,
    ) -> None:
        self._sends_pushback = pushback
        self._sends_undeclared = send_undeclared
        self._describe = describe

    def rejection_for(self, call: Call, error: BaseException) -> ServiceError | None:
        """Return the caller's error, add its details to the trailing metadata, and log a fault.

        Return None if the chain must not answer: the task is cancelled, or a servicer has already sent a status.
        """
        if _needs_no_response(error):
            return None
        rejection = caller_error(error, call)
        if is_fault(error, rejection):
            undeclared = undeclared_in(error, call.method)
            facts = {"undeclared": undeclared} if undeclared else {}
            _log.error("internal error", method=call.method.full_name, **facts, exception=self._describe(error))
            if undeclared and self._sends_undeclared:
                rejection = Internal(undeclared)
        if STATUS_DETAILS not in dict(call.servicer_context.trailing_metadata() or ()):  # set by the handler
            call.trailing.append(
                (STATUS_DETAILS, status_of_error(rejection, call.context.correlation_id).SerializeToString())
            )
        pushback = _pushback(error, rejection, call) if self._sends_pushback else None
        if pushback is not None:
            call.trailing.append((PUSHBACK_MS, str(pushback)))
        return rejection


def _needs_no_response(error: BaseException) -> bool:
    if isinstance(error, asyncio.CancelledError):
        # If a handler raised CancelledError itself, the caller would wait until its deadline without a response.
        return task_is_cancelled()
    # After AbortError, a third-party servicer, such as health or reflection, has already sent a status.
    return isinstance(error, grpc.aio.AbortError) or not isinstance(error, Exception)


def _pushback(error: BaseException, rejection: ServiceError, call: Call) -> int | None:
    """Return the milliseconds after which gRPC's core may send the call again (gRFC A6); below 0, never.

    None leaves the delay to the core. There are three cases of never:

    - The delay is longer than the call's remaining time: the core would sleep in vain.
    - A hop nearer to the fault has already retried.
    - The call is a further attempt of a hedged call.
    """
    if _was_retried(error) or HEDGE_ATTEMPT in call.metadata:
        return NO_RETRY
    delay_s = rejection.retry_after_s
    if delay_s is None:
        return None
    return math.ceil(delay_s * 1000) if delay_s < call.remaining_s else NO_RETRY


def _was_retried(error: BaseException | None) -> bool:
    """Return whether `error` or a cause of it is a platform error of a callee with a retry policy."""
    while error is not None:
        if isinstance(error, ServiceError) and error.callee and error.reason in PLATFORM_REASONS:
            return _is_retried(error.callee)
        error = error.__cause__
    return False


def _is_retried(callee: str) -> bool:
    try:
        return find_method(f"/{callee}").policy.retry is not None
    except ContractError:
        return False
