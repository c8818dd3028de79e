"""Redaction: a message as plain values that may be logged, with every field that its contract marks `pii` masked."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from solo60.mesh.v1 import policy_pb2

if TYPE_CHECKING:
    from google.protobuf.descriptor import FieldDescriptor
    from google.protobuf.message import Message

MASK = "***"
LONGEST_TEXT = 200


def redacted(message: Message) -> dict[str, Any]:
    """Return the set fields of `message` by name, without personal data, and long texts and bytes shortened."""
    return {field.name: _field(field, value) for field, value in message.ListFields()}


def _field(field: FieldDescriptor, value: Any) -> Any:  # noqa: ANN401 - any protobuf field value
    if is_personal(field):
        return MASK
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        value_field = field.message_type.fields_by_name["value"]
        return {str(key): _value(value_field, each) for key, each in value.items()}
    if field.is_repeated:
        return [_value(field, each) for each in value]
    return _value(field, value)


def _value(field: FieldDescriptor, value: Any) -> Any:  # noqa: ANN401 - any protobuf field value
    if field.message_type is not None:
        is_well_known = field.message_type.full_name in _PLAIN_TYPES
        return value.ToJsonString() if is_well_known else redacted(value)
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return known.name if known else value
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if isinstance(value, str) and len(value) > LONGEST_TEXT:
        return value[:LONGEST_TEXT] + "…"
    return value


_PLAIN_TYPES = frozenset({"google.protobuf.Timestamp", "google.protobuf.Duration", "google.protobuf.FieldMask"})


@cache
def is_personal(field: FieldDescriptor) -> bool:
    """Tell whether the contract marks the field as personal data or a secret."""
    return bool(field.GetOptions().Extensions[policy_pb2.pii])
