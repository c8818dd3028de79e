"""JSON schemas of messages and enums: the components of an OpenAPI document."""

from __future__ import annotations

from typing import TYPE_CHECKING

import protovalidate
from google.protobuf.descriptor import Descriptor
from google.protobuf.message_factory import GetMessageClass

from contracts.broken_fields import broken_fields
from contracts.documents.catalog import PII, Catalog
from contracts.documents.field_schema import FieldSchemas
from contracts.documents.well_known_types import well_known_schema
from contracts.message_types import WRAPPERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor, OneofDescriptor

    from contracts.documents.json_schema import Schema

MESSAGE_RULES = "buf.validate.message"
ONEOF_RULES = "buf.validate.oneof"
PERSONAL_DATA = "Personal data: never in logs, errors or recordings."


class MessageSchemas:
    """Schemas of the messages of a catalog."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._fields = FieldSchemas(catalog)

    def components(self, roots: Iterable[Descriptor]) -> dict[str, Schema]:
        """Return the schema of each message and enum that `roots` lead to, by full name."""
        found = {each.full_name: each for each in types_below(roots)}
        return {name: self._component(found[name]) for name in sorted(found)}

    def _component(self, described: Descriptor | EnumDescriptor) -> Schema:
        return self._message(described) if isinstance(described, Descriptor) else self._enum(described)

    def _enum(self, enum: EnumDescriptor) -> Schema:
        lines = [f"- `{value.name}`: {_one_line(self._catalog.comment_of(value))}" for value in enum.values]
        description = "\n".join([self._catalog.comment_of(enum), "", *lines]).strip()
        return {"type": "string", "description": description, "enum": [value.name for value in enum.values]}

    def _message(self, message: Descriptor) -> Schema:
        schema: Schema = {"type": "object", "description": self._description(message)}
        if message.fields:
            schema["properties"] = {field.json_name: self._property(field) for field in message.fields}
        required = self.required_fields(message)
        if required:
            schema["required"] = [field.json_name for field in required]
        choices = [*self._choices(message)]
        if len(choices) == 1:
            schema |= choices[0]
        elif choices:
            schema["allOf"] = choices
        schema["additionalProperties"] = False
        return schema

    def _description(self, message: Descriptor) -> str:
        notes = self.rules_of_message(message)
        listed = "".join(f"\n- {note}" for note in notes)
        return self._catalog.comment_of(message) + (f"\n\nRules:\n{listed}" if notes else "")

    def rules_of_message(self, message: Descriptor) -> list[str]:
        """Return the rules on several fields of a message together, in words."""
        rules = self._catalog.option_of(message, MESSAGE_RULES)
        if rules is None:
            return []
        return [cel.message or f"`{cel.expression}`" for cel in rules.cel] + [
            f"`{each}`" for each in rules.cel_expression
        ]

    def _property(self, field: FieldDescriptor) -> Schema:
        found = self._fields.schema_of(field)
        parts = [self._catalog.comment_of(field)]
        if found.notes:
            parts.append("Rules: " + "; ".join(found.notes) + ".")
        if self._catalog.option_of(field, PII):
            parts.append(PERSONAL_DATA)
        schema = dict(found.schema)
        schema["description"] = "\n\n".join(filter(None, parts))
        if field.GetOptions().deprecated:
            schema["deprecated"] = True
        return schema

    def required_fields(self, message: Descriptor) -> list[FieldDescriptor]:
        """Return the fields without which a message is always invalid."""
        try:
            broken = set(broken_fields(GetMessageClass(message)()))
        except (protovalidate.CompilationError, protovalidate.EvaluationError):
            rules = ((field, self._catalog.rules_of(field)) for field in message.fields)
            return [field for field, declared in rules if declared is not None and declared.required]
        return [field for field in message.fields if field.name in broken]

    def _choices(self, message: Descriptor) -> Iterator[Schema]:
        for oneof in message.oneofs:
            if not is_synthetic(oneof):
                rules = self._catalog.option_of(oneof, ONEOF_RULES)
                names = [field.json_name for field in oneof.fields]
                yield _one_of(names, is_required=rules is not None and rules.required)
        rules = self._catalog.option_of(message, MESSAGE_RULES)
        for choice in rules.oneof if rules is not None else ():
            names = [message.fields_by_name[name].json_name for name in choice.fields]
            yield _one_of(names, is_required=choice.required)


def types_below(roots: Iterable[Descriptor]) -> Iterator[Descriptor | EnumDescriptor]:
    """Yield each message and enum that needs a schema of its own, from `roots` through their fields."""
    seen: set[str] = set()
    waiting = list(roots)
    while waiting:
        message = waiting.pop(0)
        if message.full_name in seen:
            continue
        seen.add(message.full_name)
        is_own = message.full_name not in WRAPPERS and well_known_schema(message.full_name) is None
        if not is_own:
            continue
        if not message.GetOptions().map_entry:
            yield message
        for field in message.fields:
            if field.message_type is not None:
                waiting.append(field.message_type)
            elif field.enum_type is not None and field.enum_type.full_name not in {*seen, "google.protobuf.NullValue"}:
                seen.add(field.enum_type.full_name)
                yield field.enum_type


def is_synthetic(oneof: OneofDescriptor) -> bool:
    """Return whether protoc made the oneof for an `optional` field."""
    return len(oneof.fields) == 1 and oneof.name == f"_{oneof.fields[0].name}"


def _one_of(names: list[str], *, is_required: bool) -> Schema:
    each: list[Schema] = [{"required": [name]} for name in names]
    none: Schema = {"properties": dict.fromkeys(names, False)}
    return {"oneOf": each if is_required else [*each, none]}


def _one_line(text: str) -> str:
    return " ".join(text.split())
