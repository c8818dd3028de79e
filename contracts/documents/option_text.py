"""Values of options as text and as JSON, and the defaults that comments of options name ("Default: 50 ms.")."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from google.protobuf import json_format

from contracts.durations import duration_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
    from google.protobuf.message import Message

    from contracts.documents.catalog import Catalog
    from contracts.documents.json_schema import Schema
    from contracts.field_value import FieldValue

DURATION, TIMESTAMP = "google.protobuf.Duration", "google.protobuf.Timestamp"
_DEFAULT = re.compile(r"Default: (.+?)\.(?:\s|$)", re.DOTALL)
_TIME = re.compile(r"([\d.]+) (ms|s|min|h)\b")
_SECONDS = {"ms": 0.001, "s": 1, "min": 60, "h": 3600}
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def default_in_words(catalog: Catalog, field: FieldDescriptor) -> str:
    """Return the default that the comment of an option names, such as "no retries", or an empty text."""
    found = _DEFAULT.search(catalog.comment_of(field))
    return " ".join(found[1].split()) if found else ""


def default_of(catalog: Catalog, field: FieldDescriptor) -> FieldValue | None:
    """Return the default of an option in JSON, or None if its comment names none or only describes it."""
    text = default_in_words(catalog, field)
    if field.enum_type is not None:
        names = [word for word in re.findall(r"\w+", text) if word in field.enum_type.values_by_name]
        return (names if field.is_repeated else names[0]) if names else None
    if field.message_type is not None:
        time = _TIME.fullmatch(text)
        is_duration = time is not None and field.message_type.full_name == DURATION
        return f"{float(time[1]) * _SECONDS[time[2]]:g}s" if is_duration and time is not None else None
    return float(text) if _NUMBER.fullmatch(text) else None


def option_as_json(catalog: Catalog, value: Message) -> Schema:
    """Return a message of options as JSON with the names of the contract, including defaults."""
    declared: Schema = json_format.MessageToDict(value, preserving_proto_field_name=True)
    for field in _fields_of(value):
        if field.name not in declared:
            default = default_of(catalog, field)
            if default is not None:
                declared[field.name] = default
        elif _is_group(field):
            declared[field.name] = option_as_json(catalog, getattr(value, field.name))
    return {field.name: _whole(declared[field.name]) for field in value.DESCRIPTOR.fields if field.name in declared}


def option_in_words(field: FieldDescriptor, value: FieldValue) -> str:
    """Return the value of an option in JSON (`option_as_json`) as text."""
    if field.is_repeated:
        return ", ".join(_single(field, each) for each in value)
    return _single(field, value)


def without_prefix(enum: EnumDescriptor, name: str) -> str:
    """Return the name of an enum value without the name of its enum: "CRITICAL" for "CRITICALITY_CRITICAL"."""
    prefix = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", enum.name).upper() + "_"
    return name.removeprefix(prefix)


def _single(field: FieldDescriptor, value: FieldValue) -> str:
    if field.enum_type is not None:
        return without_prefix(field.enum_type, value)
    if field.message_type is not None and field.message_type.full_name == DURATION:
        return duration_text(float(value.removesuffix("s")))
    if field.message_type is not None and isinstance(value, dict):
        inner = field.message_type.fields_by_name
        pairs = ((name.replace("_", " "), option_in_words(inner[name], each)) for name, each in value.items())
        return ", ".join(f"{name} {text}" for name, text in pairs)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _fields_of(message: Message) -> Iterator[FieldDescriptor]:
    descriptor: Descriptor = message.DESCRIPTOR  # type: ignore[assignment]  # the stubs name another class
    yield from descriptor.fields


def _is_group(field: FieldDescriptor) -> bool:
    kind = field.message_type
    return kind is not None and not field.is_repeated and kind.full_name not in (DURATION, TIMESTAMP)


def _whole(value: FieldValue) -> FieldValue:
    return int(value) if isinstance(value, float) and value.is_integer() else value
