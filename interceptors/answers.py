"""Answers: the errors that a method's contract lets its caller see, and the decision whether an error is a fault."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
from grpc_interceptor.exceptions import GrpcException

from contracts.errors import Cancelled, DeadlineExceeded, Internal, ServiceError, Unavailable, UnknownError
from contracts.service_error import PLATFORM_REASONS
from interceptors.handlers import StatusSet, status_set_on, text_of_details

if TYPE_CHECKING:
    from interceptors.server import Call

# Errors of a service that we depend on are no fault of ours: the same call may succeed later.
TRANSIENT = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
    }
)
_INTERNAL_SENTENCE = "The service failed. Its log says why, under this correlation id."


def answer_to(error: BaseException, call: Call) -> ServiceError:
    """Return the error that the caller gets for `error`: only errors that the method's contract promises."""
    if isinstance(error, ServiceError):
        return _answer_to_refusal(error, call)
    if isinstance(error, StatusSet):
        return UnknownError(error.code, error.details)
    if isinstance(error, GrpcException):  # of an application's own interceptor
        return UnknownError(error.status_code, error.details)
    if isinstance(error, asyncio.CancelledError) and task_is_cancelled():
        return DeadlineExceeded() if call.is_out_of_time() else Cancelled()
    return _answer_to_fault(call)


def _answer_to_refusal(error: ServiceError, call: Call) -> ServiceError:
    if error.callee and error.reason in PLATFORM_REASONS and not isinstance(error, Internal):
        return _answer_to_lost_callee(error)
    is_promised = error.reason in call.method.policy.errors and not isinstance(error, Internal)
    return error if is_promised else Internal(_INTERNAL_SENTENCE)


def _answer_to_fault(call: Call) -> ServiceError:
    """Return the status that the handler has set, by `abort` too, or else a bare INTERNAL."""
    code = status_set_on(call.context)
    if code is grpc.StatusCode.OK:
        return Internal(_INTERNAL_SENTENCE)
    # As grpc.aio has it, a handler may set a status and then raise anything; of that, the caller is told nothing.
    return UnknownError(code, text_of_details(call.context))


def _answer_to_lost_callee(error: ServiceError) -> ServiceError:
    if error.code in TRANSIENT:
        return Unavailable("A service that this one depends on is not reachable now.")
    return Internal(_INTERNAL_SENTENCE)


def task_is_cancelled() -> bool:
    """Tell whether the current task is being cancelled from outside."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def is_fault(error: BaseException, answer: ServiceError) -> bool:
    """Tell whether `error` is a fault of the service, which its log must explain."""
    return isinstance(answer, Internal) or not isinstance(error, (ServiceError, GrpcException, StatusSet))
