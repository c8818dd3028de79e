"""Items of message fields in one form for single, repeated and map fields, and scalar values as text."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, cast

from google.protobuf import text_format
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from contracts.message_types import is_map

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import Descriptor, FieldDescriptor

    from contracts.field_value import FieldValue

# Messages that are written as one string, such as "2030-01-01T10:00:00Z".
WRITTEN_AS_TEXT = frozenset({"google.protobuf.Timestamp", "google.protobuf.Duration", "google.protobuf.FieldMask"})


def set_fields(message: Message) -> Iterator[tuple[FieldDescriptor, list[FieldValue]]]:
    """Yield each set field with its items: one value, or the values of a list, or the sorted entries of a map."""
    for field, value in message.ListFields():
        yield field, items_of(field, value)


def items_of(field: FieldDescriptor, value: FieldValue) -> list[FieldValue]:
    """Return the items of a field's value."""
    if not field.is_repeated:
        return [value]
    if not is_map(field):
        return list(value)
    entry = GetMessageClass(cast("Descriptor", field.message_type))
    return [entry(key=key, value=value[key]) for key in sorted(value)]


def add_item(message: Message, field: FieldDescriptor, item: FieldValue) -> None:
    """Set a field to an item, or append the item to a repeated or map field."""
    target = getattr(message, field.name)
    if is_map(field):
        if isinstance(item.value, Message):
            target[item.key].CopyFrom(item.value)
        else:
            target[item.key] = item.value
    elif field.is_repeated:
        target.append(item)
    elif field.message_type is not None:
        target.CopyFrom(item)
    else:
        setattr(message, field.name, item)


def as_item_of(field: FieldDescriptor, value: FieldValue) -> FieldValue:
    """Return a value as an item of a field: a message of another version of the contract becomes one of this version.

    Raises ValueError if only one of them is a message.
    """
    if isinstance(value, Message) is not (field.message_type is not None):
        raise ValueError(f"{field.full_name} cannot have the value of a {type(value).__name__}")
    if not isinstance(value, Message):
        return value
    return GetMessageClass(cast("Descriptor", field.message_type)).FromString(value.SerializeToString())


def field_of(message: Message, name: str) -> FieldDescriptor:
    """Return a field of a message's type; raise ValueError if there is none with this name."""
    fields = message.DESCRIPTOR.fields_by_name
    if name not in fields:
        raise ValueError(f"{message.DESCRIPTOR.full_name} has no field {name}")
    return cast("FieldDescriptor", fields[name])


def is_text(field: FieldDescriptor) -> bool:
    """Return whether an item of the field is written as one text, not as a block of fields."""
    return field.message_type is None or field.message_type.full_name in WRITTEN_AS_TEXT


def text_of(field: FieldDescriptor, item: FieldValue) -> str:
    """Return an item as text, as in protobuf's text format; times and durations as in JSON."""
    if isinstance(item, Message):
        return json.dumps(cast("FieldValue", item).ToJsonString())
    alone = GetMessageClass(cast("Descriptor", field.containing_type))()
    add_item(alone, field, item)
    written = text_format.MessageToString(alone, as_one_line=True, as_utf8=True)
    return written.partition(": ")[2] or text_of_zero(item)


def text_of_zero(item: object) -> str:
    """Return the text of an item that protobuf omits, because it is the default."""
    return json.dumps(item) if isinstance(item, (str, bool)) else str(item)


def item_of(field: FieldDescriptor, text: str) -> FieldValue:
    """Return the item that `text_of` has written; raise ValueError if the text is malformed."""
    if field.message_type is not None:
        message = GetMessageClass(field.message_type)()
        cast("FieldValue", message).FromJsonString(json.loads(text))
        return message
    alone = GetMessageClass(cast("Descriptor", field.containing_type))()
    try:
        text_format.Parse(f"{field.name}: {text}", alone)
    except text_format.ParseError:
        raise ValueError(f"{field.full_name} has no value {text}") from None
    value = getattr(alone, field.name)
    return value[0] if field.is_repeated else value
