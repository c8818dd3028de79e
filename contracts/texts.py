"""Rules of string fields, as protovalidate declares them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from buf.validate import validate_pb2

if TYPE_CHECKING:
    from google.protobuf.descriptor import FieldDescriptor


def string_rules_of(field: FieldDescriptor) -> validate_pb2.StringRules:
    """Return the rules of a string field, or of the items of a repeated string field."""
    rules = field.GetOptions().Extensions[validate_pb2.field]
    return rules.repeated.items.string if field.is_repeated else rules.string
