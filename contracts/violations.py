"""Violations of protovalidate rules: in the messages of a call, and in the policies that contracts declare."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from buf.validate import validate_pb2
from contracts.service_error import Violation
from contracts.validators import COLLECTORS

if TYPE_CHECKING:
    from collections.abc import Iterable

    import protovalidate
    from google.protobuf.message import Message


@dataclass(frozen=True, slots=True)
class BrokenRule:
    """Rule that a message breaks: its field, its path in the field's options, its id and its description.

    `field` is the path that `violations_of` returns. `path` is empty for a rule of a whole message.
    """

    field: str
    path: str
    id: str
    description: str


def broken_rules(message: Message) -> list[BrokenRule]:
    """Return the rules that `message` breaks, one for each violation."""
    return [_broken_rule_of(violation) for violation in COLLECTORS[type(message)](message)]


def violations_of(message: Message) -> list[Violation]:
    """Return the violations of the contract's rules in `message`. Descriptions name the rule, never the value."""
    found = COLLECTORS[type(message)](message)
    return [_violation_of(violation) for violation in found] if found else []


def _violation_of(violation: protovalidate.Violation) -> Violation:
    found = validate_pb2.Violation.FromString(violation.proto.to_binary())
    return Violation(_path(found.field.elements), found.message)


def _broken_rule_of(violation: protovalidate.Violation) -> BrokenRule:
    found = validate_pb2.Violation.FromString(violation.proto.to_binary())
    return BrokenRule(_path(found.field.elements), _path(found.rule.elements), found.rule_id, found.message)


def _path(elements: Iterable[validate_pb2.FieldPathElement]) -> str:
    return ".".join(element.field_name + _subscript(element) for element in elements)


def _subscript(element: validate_pb2.FieldPathElement) -> str:
    kind = element.WhichOneof("subscript")
    if kind is None:
        return ""
    # A map key may be personal data, so the path omits it.
    return f"[{element.index}]" if kind == "index" else "[]"
