"""Error responses: the server sends an exception as google.rpc.Status, and the client raises the same class.

An exception other than ServiceError is a fault of the service. Its text stays in the log, and the caller gets a bare
INTERNAL with the correlation id. The same happens for a reason that the method's contract does not list. A status that
a handler sets on its context reaches the caller unchanged, as in gRPC.
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
from interceptors.chain.handler_contexts import CORRELATION_ID as CORRELATION_ID
from interceptors.chain.server import Call, ServerInterceptor
from interceptors.errors.answers import TRANSIENT as TRANSIENT
from interceptors.errors.answers import answer_to as answer_to
from interceptors.errors.answers import is_fault, task_is_cancelled

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from interceptors.chain.server import Proceed

Detail = TypeVar("Detail", bound=Message)

STATUS_DETAILS = "grpc-status-details-bin"
# Metadata key: milliseconds until a client may send a rejected call again; below 0, never (gRFC A6).
PUSHBACK_MS = "grpc-retry-pushback-ms"
NEVER_AGAIN = -1
# Metadata key: number of a hedged call's attempt. The first attempt carries none.
HEDGE_ATTEMPT = "x-hedge-attempt"
# A status without a reason of the mesh comes from the transport.
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
    """Return the traceback of `error` as Python prints it, without local variables."""
    return "".join(traceback.format_exception(error)).rstrip("\n")


class ServerErrors(ServerInterceptor):
    """Outermost server interceptor, which sends every error of the chain and the handler as a rich status.

    A retry delay is sent twice: as RetryInfo for people, and as pushback for gRPC's core. Set `pushback` to False for a
    server that cannot send the latter. If the handler did something that its contract does not declare, the log reports
    it. With `name_undeclared`, the caller is informed too.

    A fault is logged as the text that `describe` returns. A logger with access to the exception could print its frames,
    with the request and the API key in them.

    >>> call_echo(ServerErrors(), text="crash")  # the handler raises ValueError("postgres://user:secret@host")
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
            # The handler raised CancelledError itself. Without a response, the caller would wait until its deadline.
            answer = self._answer(call, error)
        except grpc.aio.AbortError:
            raise  # already answered by a third-party servicer, such as health or reflection
        except Exception as error:  # noqa: BLE001 - every error ends here and is logged
            answer = self._answer(call, error)
        # Abort outside of `except`, so that its traceback does not lead to the frames of the chain.
        await call.context.abort(answer.code, answer.message, call.whole_trailing())
        raise AssertionError("abort always raises")

    def _answer(self, call: Call, error: BaseException) -> ServiceError:
        """Return the caller's error, add its details to the trailing metadata, and log a fault."""
        answer = answer_to(error, call)
        if is_fault(error, answer):
            undeclared = undeclared_in(error, call.method)
            facts = {"undeclared": undeclared} if undeclared else {}
            _log.error("internal error", method=call.method.full_name, **facts, exception=self._describe(error))
            if undeclared and self._names_undeclared:
                answer = Internal(undeclared)
        if STATUS_DETAILS not in dict(call.context.trailing_metadata() or ()):  # set by the handler
            call.trailing.append((STATUS_DETAILS, status_of_error(answer, call.correlation_id).SerializeToString()))
        pushback = _pushback(error, answer, call) if self._says_pushback else None
        if pushback is not None:
            call.trailing.append((PUSHBACK_MS, str(pushback)))
        return answer


def _pushback(error: BaseException, answer: ServiceError, call: Call) -> int | None:
    """Return the milliseconds after which gRPC's core may send the call again (gRFC A6); below 0, never.

    None leaves the delay to the core. There are three cases of never:

    - The delay is longer than the call's remaining time: the core would sleep in vain.
    - A hop nearer to the fault has already retried.
    - The call is a further attempt of a hedged call.
    """
    if _was_retried(error) or HEDGE_ATTEMPT in call.metadata:
        return NEVER_AGAIN
    if answer.retry_after_s is None:
        return None
    return math.ceil(answer.retry_after_s * 1000) if answer.retry_after_s < call.remaining_s else NEVER_AGAIN


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


def status_of_error(error: ServiceError, correlation_id: str) -> status_pb2.Status:
    """Return the google.rpc.Status of an error: ErrorInfo, and BadRequest or RetryInfo if they apply (AIP-193)."""
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
    """Return the error that ended a call.

    A cancellation becomes Cancelled. Any other exception that is not a ServiceError becomes Internal.
    """
    if isinstance(error, ServiceError):
        return error
    return Internal("The call failed before a response arrived.") if isinstance(error, Exception) else Cancelled()


def error_of_call(rpc_error: grpc.aio.AioRpcError, callee: str) -> ServiceError:
    """Return the exception for a failed call of `callee`."""
    return error_of_status(rpc_error.code(), rpc_error.details(), rpc_error.trailing_metadata(), callee)


def error_of_status(
    code: grpc.StatusCode, message: str | None, trailing: grpc.aio.Metadata | None, callee: str
) -> ServiceError:
    """Return the exception for a status received from `callee`; UnknownError if its reason is not known here."""
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
        _log.warning("received a status with malformed details")
        return {}


def _parsed(kind: type[Detail], details: Mapping[str, bytes]) -> Detail | None:
    raw = details.get(kind.DESCRIPTOR.full_name)
    try:
        return None if raw is None else kind.FromString(raw)
    except DecodeError:
        # Ignore the malformed details, so that a decoding error does not replace the callee's error.
        _log.warning("received a status with malformed details")
        return None
