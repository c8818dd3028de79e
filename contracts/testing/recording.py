"""Patterns of the messages that a consumer sends and relies on."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from contracts.redaction import is_personal
from contracts.testing.message_items import field_of, is_map, is_text, set_fields, text_of
from contracts.testing.pattern import ANY, PERSONAL, UNSET
from contracts.testing.script import ScriptError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from google.protobuf.descriptor import FieldDescriptor

    from contracts.field_value import FieldValue
    from contracts.testing.pattern import Pattern, Value

# Value of a placeholder that the consumer chooses: the one it sends in the field with the placeholder's name.
SENT = object()
# Key of a map that names something, such as a variable of a template, and is no personal data itself.
_NAME = re.compile(r"[a-z][a-z0-9_]*")


def as_item(value: object) -> object:
    """Return the value of a placeholder as it occurs in a message: a time as a Timestamp."""
    if not isinstance(value, datetime):
        return value
    time = Timestamp()
    time.FromDatetime(value)
    return time


@dataclass(frozen=True, slots=True)
class Recording:
    """Writer of patterns: `placeholders` are values by name, and the paths name fields of an answer."""

    placeholders: Mapping[str, object]
    any_value: frozenset[str] = field(default_factory=frozenset)
    unset: frozenset[str] = field(default_factory=frozenset)

    def answer(self, message: Message) -> Pattern:
        """Return the pattern of an answer: each field that is set in the message, and the fields that are not."""
        for path in sorted(self.unset | self.any_value):
            if _is_set(message, path) is (path in self.unset):
                raise ScriptError(f"{path} must {'not ' if path in self.unset else ''}be set in the answer.")
        return self._fields(message, message, "")

    def request(self, sent: Message, expected: Message | None) -> Pattern:
        """Return the pattern of a request. The values of fields outside of the expected part are not written."""
        return Recording(self.placeholders)._fields(sent, expected, "")

    def _fields(self, message: Message, expected: Message | None, path: str) -> Pattern:
        shown = {} if expected is None else {each.name: items for each, items in set_fields(expected)}
        found: list[tuple[str, Value]] = []
        for each, items in set_fields(message):
            place = f"{path}{each.name}"
            found += [(each.name, value) for value in self._values(each, items, shown.get(each.name), place)]
        found += [(name, UNSET) for name in self._unset_in(path)]
        return tuple(found)

    def _unset_in(self, path: str) -> Iterable[str]:
        return sorted(
            each.removeprefix(path) for each in self.unset if each.startswith(path) and "." not in each[len(path) :]
        )

    def _values(
        self, each: FieldDescriptor, items: list[FieldValue], parts: list[FieldValue] | None, path: str
    ) -> list[Value]:
        names = [self._placeholder(each, item) for item in items]
        if all(names):
            return list(names)
        if path in self.any_value:
            return [ANY]
        if is_personal(each):
            return _personal(each, items)
        if parts is None and not any(self._has_placeholder(each, item) for item in items):
            return [ANY]
        if is_text(each):
            texts = [text_of(each, item) if parts is not None else ANY for item in items]
            return [name or text for name, text in zip(names, texts, strict=True)]
        inner = parts if parts is not None else [None] * len(items)
        return [self._fields(item, part, f"{path}.") for item, part in zip(items, inner, strict=True)]

    def _placeholder(self, each: FieldDescriptor, item: FieldValue) -> str:
        """Return the mark of the placeholder for this value of a field, or an empty string."""
        for name, value in self.placeholders.items():
            if (value is SENT and name == each.name) or (type(value) is type(item) and value == item):
                return f"<{name}>"
        return ""

    def _has_placeholder(self, each: FieldDescriptor, item: FieldValue) -> bool:
        if self._placeholder(each, item):
            return True
        if not isinstance(item, Message):
            return False
        return any(self._has_placeholder(field, inner) for field, items in set_fields(item) for inner in items)


def _personal(each: FieldDescriptor, items: list[FieldValue]) -> list[Value]:
    """Return one mark for a personal field, or the entries of a map with names as keys, without their values."""
    if not is_map(each) or not all(isinstance(item.key, str) and _NAME.fullmatch(item.key) for item in items):
        return [PERSONAL]
    key = items[0].DESCRIPTOR.fields_by_name["key"]
    return [(("key", text_of(key, item.key)), ("value", PERSONAL)) for item in items]


def _is_set(message: Message, path: str) -> bool:
    """Return whether the field at a path is set; a path through a list looks at its first item.

    Raises ScriptError if there is no such field, or if a message on the path is not set.
    """
    *parents, name = path.split(".")
    for parent in parents:
        items = {each.name: items for each, items in set_fields(message)}.get(parent)
        if not items or not isinstance(items[0], Message):
            raise ScriptError(f"{path}: {parent} is no message that is set in the answer.")
        message = items[0]
    try:
        field_of(message, name)
    except ValueError as error:
        raise ScriptError(f"{path}: {error}.") from None
    return any(each.name == name for each, _ in set_fields(message))
