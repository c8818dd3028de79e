"""Places of values in messages: a field, or the first item, key or value of a repeated field or map."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from google.protobuf.message import Message

from contracts.message_types import WRAPPERS, is_map

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, FieldDescriptor

    from contracts.field_value import FieldValue

# Message types whose rules are about their whole value.
VALUES = WRAPPERS | {f"google.protobuf.{name}" for name in ("Timestamp", "Duration", "FieldMask", "Any")}


def type_of(message: Message) -> Descriptor:
    """Return the descriptor of a message; generated code types it as that of either implementation of protobuf."""
    return cast("Descriptor", message.DESCRIPTOR)


def element_place(field: FieldDescriptor) -> str:
    """Return the place of the messages or values of a field."""
    if is_map(field):
        return "values"
    return "items" if field.is_repeated else ""


def element_of(field: FieldDescriptor, place: str) -> FieldDescriptor:
    """Return the descriptor of the value in a place; for a wrapper such as Int32Value, of its content."""
    if place in ("keys", "values") and field.message_type is not None:
        field = field.message_type.fields_by_name[place[:-1]]
    if field.message_type is not None and field.message_type.full_name in WRAPPERS:
        return field.message_type.fields_by_name["value"]
    return field


def value_in(message: Message, field: FieldDescriptor, place: str) -> FieldValue:
    """Return the value in a place, or None if there is none."""
    value = getattr(message, field.name)
    if is_map(field):
        first = next(iter(value.items()), (None, None))
        return dict(value) if not place else first[place == "values"]
    if field.is_repeated:
        return list(value) if not place else next(iter(value), None)
    if field.message_type is not None and field.message_type.full_name in WRAPPERS:
        return value.value
    return value


def with_value(message: Message, field: FieldDescriptor, value: FieldValue, place: str = "") -> Message:
    """Return a copy of a message with a value in a place, or without the field if the value is None."""
    copy = type(message)()
    copy.CopyFrom(message)
    if place == "items":
        value = [value, *list(getattr(message, field.name))[1:]]
    elif place:
        key, content = (value_in(message, field, each) for each in ("keys", "values"))
        value = {value: content} if place == "keys" else {key: value}
    copy.ClearField(field.name)
    if value is not None:
        _put(copy, field, value)
    return copy


def _put(message: Message, field: FieldDescriptor, value: FieldValue) -> None:
    if is_map(field):
        target = getattr(message, field.name)
        for key, each in value.items():
            if isinstance(each, Message):
                target[key].CopyFrom(each)
            else:
                target[key] = each
    elif field.is_repeated:
        getattr(message, field.name).extend(value)
    elif field.message_type is None:
        setattr(message, field.name, value)
    else:
        target = getattr(message, field.name)
        target.SetInParent()
        if field.message_type.full_name in WRAPPERS:
            target.value = value
        else:
            target.CopyFrom(value)
