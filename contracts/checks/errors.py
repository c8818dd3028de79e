"""Checks of error reasons: a method lists its own ones, once each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.checks.subject import repeated
from contracts.service_error import FIRST_DOMAIN_REASON
from solo60.common.v1.errors_pb2 import ErrorReason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from contracts.checks.finding import Problem
    from contracts.checks.subject import Subject


def of_mesh(subject: Subject) -> Iterator[Problem]:
    """Yield each listed reason that belongs to the mesh."""
    for method, policy in subject.policies:
        for reason in dict.fromkeys(policy.errors):
            if reason < FIRST_DOMAIN_REASON:
                message = f"errors: {_name_of(reason)} belongs to the mesh and needs no declaration; remove it"
                yield subject.in_policy(method, message, "errors", _name_of(reason))


def listed_twice(subject: Subject) -> Iterator[Problem]:
    """Yield each reason that is listed more than once."""
    for method, policy in subject.policies:
        for reason in repeated(policy.errors):
            message = f"errors: {_name_of(reason)} is listed more than once; list it once"
            yield subject.in_policy(method, message, "errors", _name_of(reason))


def _name_of(reason: ErrorReason.ValueType) -> str:
    return ErrorReason.Name(reason) if reason in ErrorReason.values() else str(reason)
