"""Messages from patterns, and the differences between a pattern and a real answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.message_factory import GetMessageClass

from contracts.example_messages import example_of, example_of_field
from contracts.testing.message_items import add_item, as_item_of, field_of, item_of, set_fields, text_of
from contracts.testing.pattern import ANY, PERSONAL, UNSET, placeholder_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from google.protobuf.descriptor import FieldDescriptor
    from google.protobuf.message import Message

    from contracts.field_value import FieldValue
    from contracts.testing.pattern import Pattern, Value

    Values = Mapping[str, object]


def message_of(pattern: Pattern, kind: type[Message], values: Values) -> Message:
    """Return the message of a pattern. `values` are the placeholders; other marks become valid examples, or no value.

    Raises ValueError if a field or value does not exist, or has no example.
    """
    message = kind()
    message.SetInParent()
    for name, value in pattern:
        field = field_of(message, name)
        if value in (ANY, PERSONAL):
            for item in example_items(kind, name):
                add_item(message, field, item)
        elif placeholder := placeholder_in(value):
            add_item(message, field, as_item_of(field, values[placeholder]))
        elif value == UNSET:
            continue
        elif isinstance(value, str):
            add_item(message, field, item_of(field, value))
        else:
            add_item(message, field, message_of(value, type_of(field), values))
    return message


def example_items(kind: type[Message], name: str) -> list[FieldValue]:
    """Return valid items of a field; raise ValueError if the type has no such field, or if no example is valid."""
    field_of(kind(), name)
    # Of a oneof, the example of the whole message has only one field.
    for example in (example_of(kind), example_of_field(kind, name)):
        for field, items in set_fields(example):
            if field.name == name:
                return items
    raise ValueError(f"{kind.DESCRIPTOR.full_name}.{name} has no example: bind the field to a placeholder")


def type_of(field: FieldDescriptor) -> type[Message]:
    """Return the type of a field's messages; raise ValueError if it has none."""
    if field.message_type is None:
        raise ValueError(f"{field.full_name} is not a message")
    return GetMessageClass(field.message_type)


def differences(pattern: Pattern, message: Message, values: Values, path: str = "") -> Iterator[str]:
    """Yield one sentence for each field of a pattern that a message does not have."""
    present = {field.name: items for field, items in set_fields(message)}
    for name in dict.fromkeys(name for name, _ in pattern):
        wanted = [value for each, value in pattern if each == name]
        field, items, place = field_of(message, name), present.get(name, []), f"{path}{name}"
        if wanted == [UNSET]:
            if items:
                yield f"{place} is set, but must not be."
        elif not items:
            yield f"{place} is not set."
        elif wanted[0] in (ANY, PERSONAL):
            continue
        elif len(items) != len(wanted):
            yield f"{place} has {len(items)} values, not {len(wanted)}."
        else:
            for index, (value, item) in enumerate(zip(wanted, items, strict=True)):
                yield from _differences_of_item(
                    field, value, item, values, f"{place}[{index}]" if field.is_repeated else place
                )


def _differences_of_item(
    field: FieldDescriptor, value: Value, item: FieldValue, values: Values, place: str
) -> Iterator[str]:
    if placeholder := placeholder_in(value):
        if item != as_item_of(field, values[placeholder]):
            yield f"{place} is not <{placeholder}> of the state."
    elif isinstance(value, str):
        if value not in (ANY, PERSONAL) and item != item_of(field, value):
            yield f"{place} is {text_of(field, item)}, not {value}."
    else:
        yield from differences(value, item, values, f"{place}.")
