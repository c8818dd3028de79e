"""Partial messages: only the fields that a test names. They match requests, and are completed to valid answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from google.protobuf.message import Message

from contracts.example_messages import example_of
from contracts.message_types import is_map
from contracts.violations import violations_of

if TYPE_CHECKING:
    from google.protobuf.descriptor import FieldDescriptor

    from contracts.field_value import FieldValue


def includes(whole: Message, part: Message) -> bool:
    """Return whether `whole` has every field that is set in `part`, with the same value.

    Messages inside `part` are partial too. Repeated fields have the same number of values.
    """
    present = {field.name: value for field, value in whole.ListFields()}
    return all(
        field.name in present and _includes_value(field, present[field.name], value)
        for field, value in part.ListFields()
    )


def _includes_value(field: FieldDescriptor, whole: FieldValue, part: FieldValue) -> bool:
    if field.message_type is None or is_map(field):
        return bool(whole == part)
    if not field.is_repeated:
        return includes(whole, part)
    return len(whole) == len(part) and all(map(includes, whole, part))


def completed(message: Message) -> Message:
    """Return a copy of `message` in which the missing fields that its rules require have valid example values."""
    whole = type(message)()
    whole.CopyFrom(message)
    paths: list[str] = []
    while (broken := [violation.field for violation in violations_of(whole)]) != paths:
        paths = broken
        for path in paths:
            _set_example(whole, path)
    return whole


def _set_example(message: Message, path: str) -> None:
    """Set the field at a path of `contracts.violations` to its example, unless it is set."""
    name, _, rest = path.partition(".")
    name, _, index = name.rstrip("]").partition("[")
    field = cast("FieldDescriptor | None", message.DESCRIPTOR.fields_by_name.get(name))
    value = {field.name: value for field, value in message.ListFields()}.get(name)
    if field is None:  # a rule about the whole message
        return
    if value is None:
        _copy_field(example_of(type(message)), message, field)
    elif field.is_repeated and index.isdecimal():
        value = value[int(index)]
    if rest and isinstance(value, Message):
        _set_example(value, rest)


def _copy_field(source: Message, target: Message, field: FieldDescriptor) -> None:
    alone = type(target)()
    alone.CopyFrom(source)
    for other in source.DESCRIPTOR.fields:
        if other.name != field.name:
            alone.ClearField(other.name)
    target.MergeFrom(alone)
