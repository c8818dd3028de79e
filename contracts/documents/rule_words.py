"""Protovalidate rules in words, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf import json_format
from google.protobuf.message import Message

from contracts.documents.markdown_text import code

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import FieldDescriptor

    from contracts.documents.catalog import Catalog
    from contracts.field_value import FieldValue

PREDEFINED = "buf.validate.predefined"
_EACH = {"items": "each item ", "keys": "each key ", "values": "each value "}
_COMPARED = {
    "lt": "less than {}",
    "lte": "at most {}",
    "gt": "more than {}",
    "gte": "at least {}",
    "const": "exactly {}",
}
_COUNTED = {
    "len": "exactly {} characters", "min_len": "at least {} characters", "max_len": "at most {} characters",
    "len_bytes": "exactly {} bytes", "min_bytes": "at least {} bytes", "max_bytes": "at most {} bytes",
    "min_items": "at least {} items", "max_items": "at most {} items",
    "min_pairs": "at least {} entries", "max_pairs": "at most {} entries",
    "within": "within {} of now",
}  # fmt: skip
_LISTED = {"in": "one of {}", "not_in": "not {}"}
_FLAGS = {"unique": "no item twice", "defined_only": "a value of the contract", "finite": "finite"}
_QUOTED = {"pattern": "matches {}", "prefix": "begins with {}", "suffix": "ends with {}", "contains": "contains {}",
           "not_contains": "does not contain {}"}  # fmt: skip
_RANGES = {"gte": "lte"} | {f"min_{each}": f"max_{each}" for each in ("len", "bytes", "items", "pairs")}
_UNWRITTEN = frozenset({"ignore", "required", "example", "strict"})


def rules_in_words(catalog: Catalog, field: FieldDescriptor) -> list[str]:
    """Return the rules of a field, each as a few words such as "at most 100 characters"."""
    rules = catalog.rules_of(field)
    if rules is None:
        return []
    words = ["required"] if rules.required else []
    words += _words(catalog, rules, enum_of=field)
    return [*words, "or empty"] if rules.ignore == 1 else words


def rule_in_words(
    catalog: Catalog, rule: FieldDescriptor, value: FieldValue, enum_of: FieldDescriptor | None = None
) -> str:
    """Return one rule in words. A rule without words of its own has the message that protovalidate gives for it."""
    if rule.name in _COUNTED:
        words = (
            _COUNTED[rule.name]
            .format(_text(value))
            .replace("characters", "bytes" if _is_of_bytes(rule) else "characters")
        )
        return words.removesuffix("s") if value == 1 else words
    if rule.name in _COMPARED:
        return _COMPARED[rule.name].format(_quoted(value, enum_of))
    if rule.name in _LISTED:
        return _LISTED[rule.name].format(", ".join(_quoted(each, enum_of) for each in value))
    if rule.name in _QUOTED:
        return _QUOTED[rule.name].format(code(_text(value)))
    if rule.name in _FLAGS:
        return _FLAGS[rule.name]
    return _predefined(catalog, rule, value)


def _words(catalog: Catalog, rules: Message, each: str = "", enum_of: FieldDescriptor | None = None) -> Iterator[str]:
    declared = {rule.name: value for rule, value in rules.ListFields()}
    ranges = {least: most for least, most in _RANGES.items() if _is_range(declared.get(least), declared.get(most))}
    for rule, value in rules.ListFields():
        if rule.name in _UNWRITTEN or rule.name in ranges.values():
            continue
        if rule.name in ranges:
            yield each + _range(rule, value, declared[ranges[rule.name]])
            continue
        if rule.name == "cel":
            yield from (each + (cel.message or code(cel.expression)) for cel in value)
        elif rule.name == "cel_expression":
            yield from (each + code(expression) for expression in value)
        elif rule.message_type is not None and rule.message_type.file.package == "buf.validate":
            yield from _words(catalog, value, _EACH.get(rule.name, each), enum_of)
        else:
            yield each + rule_in_words(catalog, rule, value, enum_of)


def _is_range(least: FieldValue | None, most: FieldValue | None) -> bool:
    """Return whether two bounds enclose values. A lower bound above the upper one excludes the values between them."""
    if least is None or most is None:
        return False
    return isinstance(least, Message) or bool(least <= most)


def _range(rule: FieldDescriptor, least: FieldValue, most: FieldValue) -> str:
    unit = "bytes" if _is_of_bytes(rule) else _COUNTED.get(rule.name, "").partition("{} ")[2]
    return f"{_text(least)} to {_text(most)} {unit}".rstrip()


def _is_of_bytes(rule: FieldDescriptor) -> bool:
    return rule.containing_type is not None and rule.containing_type.name == "BytesRules"


def _predefined(catalog: Catalog, rule: FieldDescriptor, value: FieldValue) -> str:
    declared = catalog.option_of(rule, PREDEFINED)
    messages = list(dict.fromkeys(cel.message for cel in declared.cel if cel.message)) if declared is not None else []
    if value is True and messages and not rule.is_extension:
        return _short_form(messages[0])
    if value is True and messages:
        return ", ".join(messages)
    name = rule.name.replace("_", " ")
    return name if value is True else f"{name} {_text(value)}"


def _short_form(message: str) -> str:
    """Return "UUID" for "must be a valid UUID"."""
    for beginning in ("must be a valid ", "value must be a valid "):
        if message.startswith(beginning):
            return message.removeprefix(beginning)
    return message


def _quoted(value: FieldValue, enum_of: FieldDescriptor | None) -> str:
    if enum_of is not None and enum_of.enum_type is not None and isinstance(value, int):
        named = enum_of.enum_type.values_by_number.get(value)
        return f"`{named.name}`" if named is not None else str(value)
    return code(f'"{value}"') if isinstance(value, str) else _text(value)


def _text(value: FieldValue) -> str:
    if isinstance(value, Message):
        return str(json_format.MessageToDict(value))
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, bytes):
        return value.hex()
    return f"{value:g}" if isinstance(value, float) else str(value)
