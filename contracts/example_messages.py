"""Generator of valid example messages for any message type of a contract, by trying common values.

A value is used if protovalidate accepts it. So an example follows its contract, and a new rule needs no change here as
long as one of the values below passes it.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar, cast

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message_factory import GetMessageClass

from contracts.broken_fields import broken_fields

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from google.protobuf.descriptor import Descriptor, FieldDescriptor
    from google.protobuf.message import Message

    from contracts.field_value import FieldValue

AnyMessage = TypeVar("AnyMessage", bound="Message")

# In 2030, because rules may require the future. On the full hour, because sessions begin then.
START_S = 1_893_492_000
HOUR_S = 3600
UUID = "0198c1a2-0000-7000-8000-000000000000"
# Realistic values by field name.
BY_NAME: dict[str, Any] = {
    "page_token": "",
    "page_size": 20,
    "display_name": "Ada Lovelace",
    "name": "Field Street Gym",
    "password": "correct horse battery staple",
    "time_zone": "Europe/London",
    "currency_code": "GBP",
    "locale": "en-GB",
    "opens_minute": 360,
    "closes_minute": 1320,
    "minor_units": 1250,
    "start_time": START_S,
    "end_time": START_S + HOUR_S,
}
TEXTS = (
    "example", UUID, "ada@solo60.example", "SESSION_BOOKED", "Europe/London", "GBP", "2030-01", "member_name",
    "https://solo60.example", "0" * 32, "1", "a", "x" * 40, "",
)  # fmt: skip
NUMBERS = (1, 10, 60, 100, 1000, 0, -1)
TIMES_S = (START_S, 0)
SPANS_S = (HOUR_S, 60, 1)
SPECIAL = {
    "google.protobuf.Timestamp": TIMES_S,
    "google.protobuf.Duration": SPANS_S,
}
FIELD_MASK = FieldMask.DESCRIPTOR.full_name
MAX_DEPTH = 6


def example_of(message_type: type[AnyMessage]) -> AnyMessage:
    """Return a message with as many fields set as its rules allow together."""
    return _example(message_type, MAX_DEPTH)


def example_of_field(message_type: type[Message], name: str) -> Message:
    """Return a message in which only this field is set, if its own rules allow one of the common values."""
    message = message_type()
    _fill(message, cast("Descriptor", message_type.DESCRIPTOR).fields_by_name[name], MAX_DEPTH)
    return message


def _example(message_type: type[AnyMessage], depth: int) -> AnyMessage:
    message = message_type()
    for field in cast("Descriptor", message_type.DESCRIPTOR).fields:
        oneof = field.containing_oneof
        if oneof is None or message.WhichOneof(oneof.name) is None:
            _fill(message, field, depth)
    _repair(message)
    return message


def _fill(message: Message, field: FieldDescriptor, depth: int) -> None:
    """Set a field to the first value that breaks none of its own rules; leave it unset if there is none."""
    for value in candidate_values(field, depth):
        alone = type(message)()
        set_value(alone, field, value)
        if field.name not in broken_fields(alone):
            set_value(message, field, value)
            return


def _repair(message: Message) -> None:
    """Clear fields that rules about the whole message do not allow in combination."""
    broken = len(broken_fields(message))
    for field, _ in reversed(message.ListFields()):
        if not broken:
            return
        without = type(message)()
        without.CopyFrom(message)
        without.ClearField(field.name)
        left = len(broken_fields(without))
        if left < broken:
            message.ClearField(field.name)
            broken = left


def candidate_values(field: FieldDescriptor, depth: int = MAX_DEPTH) -> Iterator[Any]:
    """Yield common values for a field, or for one item of a repeated field, without regard to its rules."""
    if field.name in BY_NAME and _suits(field, BY_NAME[field.name]):
        yield BY_NAME[field.name]
    if field.message_type is None:
        yield from _scalars(field)
    elif field.message_type.GetOptions().map_entry:
        yield from _pairs(field.message_type, depth)
    elif field.message_type.full_name in SPECIAL:
        yield from SPECIAL[field.message_type.full_name]
    elif field.message_type.full_name == FIELD_MASK:
        yield from _masks(cast("Descriptor", field.containing_type))
    elif depth:
        yield _example(GetMessageClass(field.message_type), depth - 1)


def _suits(field: FieldDescriptor, value: object) -> bool:
    """Return whether a value is of the field's type: text, or a number or moment."""
    if isinstance(value, str):
        return field.type == field.TYPE_STRING
    if field.message_type is not None:
        return field.message_type.full_name in SPECIAL
    return field.type not in (field.TYPE_STRING, field.TYPE_BYTES, field.TYPE_BOOL, field.TYPE_ENUM)


def _scalars(field: FieldDescriptor) -> Sequence[Any]:
    if field.type == field.TYPE_STRING:
        return TEXTS
    if field.type == field.TYPE_BYTES:
        return (b"{}", b"example", b"")
    if field.type == field.TYPE_BOOL:
        return (True, False)
    if field.enum_type is not None:
        return [value.number for value in field.enum_type.values if value.number] or [0]
    is_unsigned = field.cpp_type in (field.CPPTYPE_UINT32, field.CPPTYPE_UINT64)
    return [number for number in NUMBERS if number >= 0] if is_unsigned else NUMBERS


def _pairs(entry: Descriptor, depth: int) -> Iterator[dict[Any, Any]]:
    keys = _scalars(entry.fields_by_name["key"])
    for value in islice(candidate_values(entry.fields_by_name["value"], depth), 1):
        yield from ({key: value} for key in keys)


def _masks(owner: Descriptor) -> Iterator[list[str]]:
    """Yield masks with one field of the message that the mask belongs to, as in UpdateUser."""
    for field in owner.fields:
        if field.message_type is not None and field.message_type.full_name != FIELD_MASK:
            names: Iterable[str] = (inner.name for inner in field.message_type.fields)
            yield from ([name] for name in names)


def set_value(message: Message, field: FieldDescriptor, value: object) -> None:
    """Set a field to one of its candidate values; add the value to a repeated field."""
    target = getattr(message, field.name)
    kind = field.message_type
    if kind is None and field.is_repeated:
        target.append(value)
    elif kind is None:
        setattr(message, field.name, value)
    elif kind.GetOptions().map_entry:
        _update_map(target, value)
    else:
        _set_message(target.add() if field.is_repeated else target, value)


def _update_map(target: FieldValue, value: FieldValue) -> None:
    is_message = target.GetEntryClass().DESCRIPTOR.fields_by_name["value"].message_type is not None
    for key, each in value.items():
        if is_message:
            _set_message(target[key], each)
        else:
            target[key] = each


def _set_message(target: FieldValue, value: object) -> None:
    target.SetInParent()
    if target.DESCRIPTOR.full_name in SPECIAL:
        target.FromSeconds(value)
    elif target.DESCRIPTOR.full_name == FIELD_MASK:
        target.paths.extend(value)
    else:
        target.CopyFrom(value)
