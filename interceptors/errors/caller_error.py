"""Mapping of exceptions to errors for the caller, limited to the errors of the method's contract."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
from grpc_interceptor.exceptions import GrpcException

from contracts.codes import TRANSIENT
from contracts.errors import Cancelled, DeadlineExceeded, Internal, ServiceError, Unavailable, UnknownError
from contracts.service_error import PLATFORM_REASONS
from interceptors.chain.handler_status import HandlerStatus, status_set_on, text_of_details

if TYPE_CHECKING:
    from interceptors.chain.call import Call

_INTERNAL_MESSAGE = "Internal error. Search the service's log for this correlation id."


def caller_error(error: BaseException, call: Call) -> ServiceError:
    """Return the error to send to the caller for `error`.

    A ServiceError passes if the method's contract declares its reason. A platform error of a callee becomes UNAVAILABLE
    if it is transient, and INTERNAL otherwise. A status set by the handler or an application interceptor passes
    unchanged. A cancelled call becomes DEADLINE_EXCEEDED or CANCELLED. Everything else becomes INTERNAL.
    """
    if isinstance(error, ServiceError):
        return _from_service_error(error, call)
    if isinstance(error, HandlerStatus):
        return UnknownError(error.code, error.details)
    if isinstance(error, GrpcException):  # raised by an application interceptor
        return UnknownError(error.status_code, error.details)
    if isinstance(error, asyncio.CancelledError) and task_is_cancelled():
        return DeadlineExceeded() if call.is_out_of_time() else Cancelled()
    return _from_fault(call)


def _from_service_error(error: ServiceError, call: Call) -> ServiceError:
    if error.callee and error.reason in PLATFORM_REASONS and not isinstance(error, Internal):
        return _from_callee_failure(error)
    is_declared = error.reason in call.method.policy.errors and not isinstance(error, Internal)
    return error if is_declared else Internal(_INTERNAL_MESSAGE)


def _from_fault(call: Call) -> ServiceError:
    """Return the status that the handler set, also by `abort`, or else INTERNAL without details."""
    code = status_set_on(call.servicer_context)
    if code is grpc.StatusCode.OK:
        return Internal(_INTERNAL_MESSAGE)
    # As in grpc.aio, a handler may set a status and then raise any exception. The caller gets the status only.
    return UnknownError(code, text_of_details(call.servicer_context))


def _from_callee_failure(error: ServiceError) -> ServiceError:
    if error.code in TRANSIENT:
        return Unavailable("A service that this one depends on is unavailable. Try again later.")
    return Internal(_INTERNAL_MESSAGE)


def task_is_cancelled() -> bool:
    """Return whether the current task is being cancelled from outside."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def is_fault(error: BaseException, rejection: ServiceError) -> bool:
    """Return whether `error` is a fault of this service, which must be logged in full."""
    return isinstance(rejection, Internal) or not isinstance(error, (ServiceError, GrpcException, HandlerStatus))
