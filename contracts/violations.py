"""Violations of protovalidate rules: in the messages of a call, and in the policies that contracts declare."""

from __future__ import annotations

from typing import TYPE_CHECKING

import protovalidate

from buf.validate import validate_pb2
from contracts.service_error import Violation

if TYPE_CHECKING:
    from collections.abc import Iterable

    from google.protobuf.message import Message

_collect_violations = protovalidate.Validator().collect_violations


def violations_of(message: Message) -> list[Violation]:
    """Return the violations of the contract's rules in `message`. Descriptions name the rule, never the value."""
    return [_violation_of(violation) for violation in _collect_violations(message)]


def _violation_of(violation: protovalidate.Violation) -> Violation:
    found = validate_pb2.Violation.FromString(violation.proto.to_binary())
    return Violation(_path(found.field.elements), found.message)


def _path(elements: Iterable[validate_pb2.FieldPathElement]) -> str:
    return ".".join(element.field_name + _subscript(element) for element in elements)


def _subscript(element: validate_pb2.FieldPathElement) -> str:
    kind = element.WhichOneof("subscript")
    if kind is None:
        return ""
    # A map key may be personal data, so the path omits it.
    return f"[{element.index}]" if kind == "index" else "[]"
