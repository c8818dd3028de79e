"""Conversion between errors and google.rpc.Status, in both directions (AIP-193)."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import grpc
import structlog
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

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
from contracts.metadata import STATUS_DETAILS
from contracts.policy import seconds
from contracts.service_error import DOMAIN

if TYPE_CHECKING:
    from collections.abc import Mapping

Detail = TypeVar("Detail", bound=Message)

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
