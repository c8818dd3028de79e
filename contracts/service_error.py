"""ServiceError: base class of the errors that rejected calls raise, on both sides of the wire."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import grpc

from contracts.reason_numbers import FIRST_DOMAIN_REASON as FIRST_DOMAIN_REASON
from solo60.common.v1 import errors_pb2
from solo60.common.v1.errors_pb2 import ErrorReason

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DOMAIN = "solo60"
PREFIX = "ERROR_REASON_"
PLATFORM_REASONS = frozenset(number for number in ErrorReason.values() if 0 < number < FIRST_DOMAIN_REASON)

_STATUS_BY_NUMBER = {status.value[0]: status for status in grpc.StatusCode}


def status_of_number(number: int) -> grpc.StatusCode:
    """Return the gRPC status of a google.rpc.Code number."""
    return _STATUS_BY_NUMBER[number]


def status_of_reason(reason: ErrorReason.ValueType) -> grpc.StatusCode:
    """Return the gRPC status of a reason, according to the contract."""
    value = errors_pb2.DESCRIPTOR.enum_types_by_name["ErrorReason"].values_by_number[reason]
    return status_of_number(value.GetOptions().Extensions[errors_pb2.code])


@dataclass(frozen=True, slots=True)
class Violation:
    """Invalid field of a request: its dotted path, and the broken rule as a sentence without the value."""

    field: str
    description: str


class ServiceError(Exception):
    """Rejected call, with a reason from the contract.

    `reason` and `code` are the reason and its gRPC status. `message` is a sentence for the caller's engineer, without
    personal data. `metadata` holds facts beside the reason (AIP-193). `violations` name the fields of an invalid
    request. `retry_after_s` is the time in seconds until a retry may succeed, or None if unknown. `correlation_id`
    identifies the call in the logs. `callee` is the method that returned the error ("solo60.gym.v1.GymService/GetGym"),
    or empty if the error was raised here.
    """

    reason: ClassVar[ErrorReason.ValueType]
    code: grpc.StatusCode
    by_reason: ClassVar[dict[str, type[ServiceError]]] = {}

    def __init__(
        self,
        message: str = "",
        *,
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[Violation] = (),
        retry_after_s: float | None = None,
    ) -> None:
        self.message = message or (type(self).__doc__ or "")
        self.metadata = dict(metadata or {})
        self.violations = tuple(violations)
        self.retry_after_s = retry_after_s
        self.correlation_id = ""
        self.callee = ""
        super().__init__(self.message)

    def __init_subclass__(cls, reason: ErrorReason.ValueType | None = None) -> None:
        if reason is not None:
            cls.reason = reason
            cls.code = status_of_reason(reason)
            ServiceError.by_reason[cls.reason_name()] = cls

    @classmethod
    def reason_name(cls) -> str:
        """Return the reason as sent on the wire ("SLOT_TAKEN"), or an empty string if there is none."""
        return ErrorReason.Name(cls.reason).removeprefix(PREFIX)


class UnknownError(ServiceError):
    """The service rejected the call for an unknown reason."""

    reason = errors_pb2.ERROR_REASON_UNSPECIFIED

    def __init__(self, code: grpc.StatusCode, message: str = "") -> None:
        super().__init__(message)
        self.code = code

    @classmethod
    def reason_name(cls) -> str:
        return ""
