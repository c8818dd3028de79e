"""Error reasons of the contracts: code, meaning, and the methods that return them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from contracts.service_error import FIRST_DOMAIN_REASON, PREFIX, status_of_reason
from contracts.services import all_methods
from contracts.stored_texts import stored_texts
from mesh.failure import Failure
from operations.contracts.texts import one_line
from solo60.common.v1 import errors_pb2
from solo60.common.v1.errors_pb2 import ErrorReason

if TYPE_CHECKING:
    from collections.abc import Iterable

    from contracts.method import Method


@dataclass(frozen=True, slots=True)
class Reason:
    """Reason for an error: its name on the wire ("SLOT_TAKEN"), its status code and its meaning.

    `of_every_method` marks the reasons of the mesh, which any method may return and none declares.
    """

    reason: str
    code: str
    meaning: str
    of_every_method: bool


class UnknownReason(Failure):
    """No error reason has the given name."""


def all_reasons() -> list[Reason]:
    """Return every reason, those of the mesh first."""
    return _reasons(number for number in ErrorReason.values() if number)


def reason_named(name: str) -> Reason:
    """Return the reason with this name; raise UnknownReason if there is none."""
    for each in all_reasons():
        if each.reason == name:
            return each
    raise UnknownReason(f'There is no error reason "{name}". List them with `solo60 contracts find --kind error`.')


def reasons_of(method: Method) -> list[Reason]:
    """Return the reasons that a method declares, by name, without those of every method."""
    return sorted(
        _reasons(number for number in method.policy.errors if number >= FIRST_DOMAIN_REASON),
        key=lambda each: each.reason,
    )


def methods_with(reason: Reason) -> list[Method]:
    """Return the methods that declare a reason."""
    number = ErrorReason.Value(PREFIX + reason.reason)
    return [method for method in all_methods().values() if number in method.policy.errors]


def _reasons(numbers: Iterable[ErrorReason.ValueType]) -> list[Reason]:
    values = errors_pb2.DESCRIPTOR.enum_types_by_name["ErrorReason"].values_by_number
    return [
        Reason(
            values[number].name.removeprefix(PREFIX),
            status_of_reason(number).name,
            one_line(stored_texts().comment_of(values[number])),
            number < FIRST_DOMAIN_REASON,
        )
        for number in numbers
    ]
