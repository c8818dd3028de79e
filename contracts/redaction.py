"""Redaction: messages as loggable values, with every field marked `pii` in its contract masked."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from google.protobuf.descriptor import FieldDescriptor

from contracts.message_types import is_map
from solo60.mesh.v1 import policy_pb2

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.any_pb2 import Any as AnyMessage
    from google.protobuf.descriptor import Descriptor
    from google.protobuf.message import Message

    from contracts.field_value import FieldValue

    Show = Callable[[Any], Any]

MASK = "***"
MAX_TEXT_LENGTH = 200


def redacted(message: Message) -> dict[str, Any]:
    """Return the set fields of `message` by name, with personal data masked and long values shortened.

    Bytes are shown as their length. The plan of each type is read from its contract once. A google.protobuf.Any is
    shown as its type name, if that type is known here. Unknown fields are omitted. Raises no error for any message.
    """
    plan = _plan_of(message.DESCRIPTOR)
    shown = {}
    for field, value in message.ListFields():
        name, show = plan.get(field) or (field.name, _mask)
        shown[name] = show(value)
    return shown


@cache
def is_personal(field: FieldDescriptor) -> bool:
    """Return whether the contract marks the field as personal data or a secret."""
    return bool(field.GetOptions().Extensions[policy_pb2.pii])


@cache
def _plan_of(descriptor: Descriptor) -> dict[FieldDescriptor, tuple[str, Show]]:
    """Return the name and the display function of each field."""
    return {field: (field.name, _show_of(field)) for field in descriptor.fields}


def _show_of(field: FieldDescriptor) -> Show:
    if is_personal(field):
        return _mask
    if is_map(field) and field.message_type is not None:
        return _each_value(_show_of(field.message_type.fields_by_name["value"]))
    show = _show_of_one(field)
    return _each(show) if field.is_repeated else show


def _show_of_one(field: FieldDescriptor) -> Show:
    if field.message_type is not None:
        return _WELL_KNOWN.get(field.message_type.full_name, redacted)
    if field.enum_type is not None:
        return _name_in({number: value.name for number, value in field.enum_type.values_by_number.items()})
    return _SHOW_BY_TYPE.get(field.type, _unchanged)


def _mask(_value: object) -> str:
    return MASK


def _unchanged(value: object) -> object:
    return value


def _each(show: Show) -> Show:
    return lambda values: [show(value) for value in values]


def _each_value(show: Show) -> Show:
    return lambda values: {_short_text(str(key)): show(value) for key, value in values.items()}


def _name_in(names: dict[int, str]) -> Show:
    return lambda number: names.get(number, number)


def _short_text(text: str) -> str:
    return text if len(text) <= MAX_TEXT_LENGTH else text[:MAX_TEXT_LENGTH] + "…"


def _length(data: bytes) -> str:
    return f"{len(data)} bytes"


def _json_text(value: FieldValue) -> object:
    try:
        return _short_text(value.ToJsonString())
    except ValueError:  # outside of the range that JSON can express
        return redacted(value)


def _packed(packed: AnyMessage) -> dict[str, str] | str:
    # The content may hold another Any, at any depth, so it is masked.
    try:
        policy_pb2.DESCRIPTOR.pool.FindMessageTypeByName(packed.TypeName())
    except KeyError:
        return MASK
    return {"@type": packed.TypeName(), "value": MASK}


_WELL_KNOWN: dict[str, Show] = {
    "google.protobuf.Timestamp": _json_text,
    "google.protobuf.Duration": _json_text,
    "google.protobuf.FieldMask": _json_text,
    "google.protobuf.Any": _packed,
}
_SHOW_BY_TYPE: dict[int, Show] = {FieldDescriptor.TYPE_STRING: _short_text, FieldDescriptor.TYPE_BYTES: _length}
