"""Errors: servicers raise, this module answers with google.rpc.Status, and the caller gets the same class back.

What is not a ServiceError is a fault of the service: its text stays in the log, and the caller gets a bare INTERNAL
with the correlation id. So does a reason that the method's contract does not list. A status that a handler sets on its
context, as gRPC has it, reaches the caller as it was set.
"""

from __future__ import annotations

import asyncio
import math
import traceback
from typing import TYPE_CHECKING, TypeVar

import grpc
import structlog
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from contracts.declarations import undeclared_in
from contracts.errors import (
    Cancelled,
    DeadlineExceeded,
    Internal,
    MessageTooLarge,
    ServiceError,
    Unauthenticated,
    Unavailable,
    Unimplemented,
    UnknownError,
    Violation,
)
from contracts.method import find_method
from contracts.policy import ContractError, seconds
from contracts.service_error import DOMAIN, PLATFORM_REASONS
from interceptors.answers import TRANSIENT as TRANSIENT
from interceptors.answers import answer_to as answer_to
from interceptors.answers import is_fault, task_is_cancelled
from interceptors.handler_contexts import CORRELATION_ID as CORRELATION_ID
from interceptors.server import Call, ServerInterceptor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from interceptors.server import Proceed

Detail = TypeVar("Detail", bound=Message)

STATUS_DETAILS = "grpc-status-details-bin"
# When a client may send a refused call again; below 0, never (gRFC A6).
PUSHBACK_MS = "grpc-retry-pushback-ms"
NEVER_AGAIN = -1
# Which attempt of a hedged call this one is, beside the first, which carries none.
HEDGE_ATTEMPT = "x-hedge-attempt"
# A status without a reason of ours is the transport's own verdict.
_BY_CODE: dict[grpc.StatusCode, type[ServiceError]] = {
    grpc.StatusCode.CANCELLED: Cancelled,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.UNIMPLEMENTED: Unimplemented,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.RESOURCE_EXHAUSTED: MessageTooLarge,
}

_log = structlog.stdlib.get_logger("solo60.errors")


def plain_traceback(error: BaseException) -> str:
    """Return the traceback of `error` as Python prints it, which shows no local variables."""
    return "".join(traceback.format_exception(error)).rstrip("\n")


class ServerErrors(ServerInterceptor):
    """Answers every error of the chain and the handler with a rich status; the outermost interceptor of a server.

    An answer that says when to come back says it twice: to people as RetryInfo, to gRPC's core as pushback; the latter
    is dropped without `pushback`, for servers that cannot send it. Where the handler did what its contract does not
    declare, the log says so; with `name_undeclared`, the caller is told as well. A fault is logged with the text that
    `describe` makes of it: a logger that got the exception itself might print its frames with the request and the API
    key in them.

    >>> ask(ServerErrors(), text="crash")  # the handler raises ValueError("postgres://user:secret@host")
    'INTERNAL'
    """

    def __init__(
        self,
        *,
        pushback: bool = True,
        name_undeclared: bool = False,
        describe: Callable[[BaseException], str] = plain_traceback,
    ) -> None:
        self._says_pushback = pushback
        self._names_undeclared = name_undeclared
        self._describe = describe

    async def intercept(self, call: Call, proceed: Proceed) -> bytes | None:
        try:
            return await proceed(call)
        except asyncio.CancelledError as error:
            if task_is_cancelled():
                raise
            # The handler raised it on its own: without an answer the caller would wait until its deadline.
            answer = self._answer(call, error)
        except grpc.aio.AbortError:
            raise  # answered already, by a servicer that is not ours: health, reflection
        except Exception as error:  # noqa: BLE001 - this is where every error ends, and it is logged
            answer = self._answer(call, error)
        # Outside of `except`, so that no traceback leads from here to the frames within.
        await call.context.abort(answer.code, answer.message, call.whole_trailing())
        raise AssertionError("abort always raises")

    def _answer(self, call: Call, error: BaseException) -> ServiceError:
        """Return the caller's error, put its details into the trailing metadata, and log a fault."""
        answer = answer_to(error, call)
        if is_fault(error, answer):
            undeclared = undeclared_in(error, call.method)
            facts = {"undeclared": undeclared} if undeclared else {}
            _log.error("internal error", method=call.method.full_name, **facts, exception=self._describe(error))
            if undeclared and self._names_undeclared:
                answer = Internal(undeclared)
        if STATUS_DETAILS not in dict(call.context.trailing_metadata() or ()):  # of the handler
            call.trailing.append((STATUS_DETAILS, status_of_error(answer, call.correlation_id).SerializeToString()))
        pushback = _pushback(error, answer, call) if self._says_pushback else None
        if pushback is not None:
            call.trailing.append((PUSHBACK_MS, str(pushback)))
        return answer


def _pushback(error: BaseException, answer: ServiceError, call: Call) -> int | None:
    """Return after how many milliseconds gRPC's core may send the call again (gRFC A6); below 0, never; None, its own.

    Never, where that is later than the call's deadline, until which the core would only sleep; where a hop nearer the
    fault has tried again already; and where another attempt of the same call is under way.
    """
    if _was_retried(error) or HEDGE_ATTEMPT in call.metadata:
        return NEVER_AGAIN
    if answer.retry_after_s is None:
        return None
    return math.ceil(answer.retry_after_s * 1000) if answer.retry_after_s < call.remaining_s else NEVER_AGAIN


def _was_retried(error: BaseException | None) -> bool:
    """Tell whether `error`, or one that it was raised from, is that of a callee whose caller tries again by itself."""
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


def status_of_error(error: ServiceError, correlation_id: str) -> status_pb2.Status:
    """Return the google.rpc.Status of an error: ErrorInfo, and BadRequest or RetryInfo where they apply (AIP-193)."""
    info = error_details_pb2.ErrorInfo(reason=error.reason_name(), domain=DOMAIN, metadata=error.metadata)
    info.metadata["correlation_id"] = correlation_id
    details: list[Message] = [info]
    if error.violations:
        bad_request = error_details_pb2.BadRequest()
        for violation in error.violations:
            bad_request.field_violations.add(field=violation.field, description=violation.description)
        details.append(bad_request)
    if error.retry_after_s is not None:
        delay = Duration()
        delay.FromNanoseconds(int(error.retry_after_s * 1e9))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    status = status_pb2.Status(code=error.code.value[0], message=error.message)
    for detail in details:
        status.details.add().Pack(detail)
    return status


def error_of_outcome(error: BaseException) -> ServiceError:
    """Return what a call's end means to its caller, also where it is no answer but a cancellation or an own fault."""
    if isinstance(error, ServiceError):
        return error
    return Internal("The call failed before it was answered.") if isinstance(error, Exception) else Cancelled()


def error_of_call(rpc_error: grpc.aio.AioRpcError, callee: str) -> ServiceError:
    """Return the exception for a call of `callee` that failed."""
    return error_of_status(rpc_error.code(), rpc_error.details(), rpc_error.trailing_metadata(), callee)


def error_of_status(
    code: grpc.StatusCode, message: str | None, trailing: grpc.aio.Metadata | None, callee: str
) -> ServiceError:
    """Return the exception for a status received from `callee`; UnknownError where its reason means nothing here."""
    details = _details_by_type(trailing)
    info = _parsed(error_details_pb2.ErrorInfo, details) or error_details_pb2.ErrorInfo()
    bad_request = _parsed(error_details_pb2.BadRequest, details) or error_details_pb2.BadRequest()
    retry_info = _parsed(error_details_pb2.RetryInfo, details)
    known = ServiceError.by_reason.get(info.reason) if info.domain == DOMAIN else _BY_CODE.get(code)
    error = known(message or "") if known else UnknownError(code, message or "")
    error.metadata = dict(info.metadata)
    error.correlation_id = error.metadata.pop("correlation_id", "")
    error.violations = tuple(Violation(each.field, each.description) for each in bad_request.field_violations)
    if retry_info is not None:
        error.retry_after_s = seconds(retry_info.retry_delay)
    error.callee = callee
    return error


def _details_by_type(trailing: grpc.aio.Metadata | None) -> dict[str, bytes]:
    raw = trailing.get(STATUS_DETAILS) if trailing else None
    if not isinstance(raw, bytes):
        return {}
    try:
        return {detail.TypeName(): detail.value for detail in status_pb2.Status.FromString(raw).details}
    except DecodeError:
        _log.warning("a status came with malformed details")
        return {}


def _parsed(kind: type[Detail], details: Mapping[str, bytes]) -> Detail | None:
    raw = details.get(kind.DESCRIPTOR.full_name)
    try:
        return None if raw is None else kind.FromString(raw)
    except DecodeError:
        # The caller waits for this error: it must not get another one instead.
        _log.warning("a status came with malformed details")
        return None
