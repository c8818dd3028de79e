"""Rules that are set in an option of protovalidate."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from google.protobuf.unknown_fields import UnknownFieldSet

from contracts.field_value import FieldValue

if TYPE_CHECKING:
    from google.protobuf.message import Message

Rules: TypeAlias = dict[str, FieldValue]
# Name of all rules that the generated code does not know, such as those of a later version of protovalidate.
UNKNOWN = "unknown"


def rules_in(options: Message) -> Rules:
    """Return the rules that are set in `options`, by name; those of an extension by its full name."""
    rules = {field.full_name if field.is_extension else field.name: value for field, value in options.ListFields()}
    return {**rules, UNKNOWN: True} if len(UnknownFieldSet(options)) else rules
