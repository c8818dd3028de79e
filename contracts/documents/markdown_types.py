"""Sections of Markdown about messages and enums."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.descriptor_pb2 import FieldDescriptorProto

from contracts.documents.catalog import PII
from contracts.documents.links import name_in_package
from contracts.documents.markdown_text import code, table
from contracts.documents.message_schema import MessageSchemas, is_synthetic
from contracts.documents.rule_words import rules_in_words
from contracts.message_types import is_map

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

    from contracts.documents.catalog import Catalog
    from contracts.documents.links import Links

_SCALARS = {int(number): name.removeprefix("TYPE_").lower() for name, number in FieldDescriptorProto.Type.items()}


class TypeSections:
    """Sections about messages and enums, with the links of one document."""

    def __init__(self, catalog: Catalog, links: Links) -> None:
        self._catalog = catalog
        self._links = links
        self._schemas = MessageSchemas(catalog)

    def message(self, message: Descriptor) -> Iterator[str]:
        """Yield the parts of a message's section."""
        yield f"### {name_in_package(message)}"
        yield self._catalog.comment_of(message)
        yield self.fields(message)

    def fields(self, message: Descriptor) -> str:
        """Return the table of a message's fields, and the rules on several fields together."""
        if not message.fields:
            return "No fields."
        rows = [(code(each.name), self._type(each), self._rules(each), self._comment(each)) for each in message.fields]
        has_rules = any(row[2] for row in rows)
        header = ("field", "type", "rules", "meaning") if has_rules else ("field", "type", "meaning")
        shown = [row if has_rules else (row[0], row[1], row[3]) for row in rows]
        rules = self._schemas.rules_of_message(message)
        return table(header, shown) + "".join(f"\n\nRule: {rule}." for rule in rules)

    def enum(self, enum: EnumDescriptor) -> Iterator[str]:
        """Yield the parts of an enum's section."""
        yield f"### {name_in_package(enum)}"
        yield self._catalog.comment_of(enum)
        rows = [(code(value.name), str(value.number), self._catalog.comment_of(value)) for value in enum.values]
        yield table(("value", "number", "meaning"), rows)

    def _type(self, field: FieldDescriptor) -> str:
        if is_map(field) and field.message_type is not None:
            key, value = (field.message_type.fields_by_name[name] for name in ("key", "value"))
            return f"map of {self._single_type(key)} to {self._single_type(value)}"
        return f"{'repeated ' if field.is_repeated else ''}{self._single_type(field)}"

    def _single_type(self, field: FieldDescriptor) -> str:
        named = field.message_type or field.enum_type
        return self._links.to_type(named) if named is not None else _SCALARS[field.type]

    def _rules(self, field: FieldDescriptor) -> str:
        words = rules_in_words(self._catalog, field)
        oneof = field.containing_oneof
        if oneof is not None and not is_synthetic(oneof):
            words.insert(0, f"one of `{oneof.name}`")
        elif oneof is not None:
            words.insert(0, "optional")
        if self._catalog.option_of(field, PII):
            words.append("**personal data**")
        return "; ".join(words)

    def _comment(self, field: FieldDescriptor) -> str:
        deprecated = "**Deprecated.** " if field.GetOptions().deprecated else ""
        return deprecated + self._catalog.comment_of(field)
