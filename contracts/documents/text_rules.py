"""Rules on strings and bytes as JSON Schema."""

from __future__ import annotations

import re
from base64 import b64encode
from typing import TYPE_CHECKING

from contracts.documents.cel_pattern import pattern_of_rule
from contracts.documents.ecma_pattern import UntranslatableError, ecma_pattern

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from contracts.documents.json_schema import Constraints, Schema
    from contracts.field_value import FieldValue

_HEX = "[0-9a-fA-F]"
_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
# A pattern beside each format, because many validators only treat formats as comments. Each pattern accepts every text
# that protovalidate accepts.
FORMATS: dict[str, Schema] = {
    "email": {"format": "email", "pattern": rf"^[a-zA-Z0-9.!#$%&'*+\/=?^_`\{{|\}}~-]+@{_LABEL}(?:\.{_LABEL})*$"},
    "hostname": {"format": "hostname", "pattern": rf"^(?:{_LABEL}\.)*{_LABEL}\.?$", "maxLength": 254},
    "ip": {
        "anyOf": [
            {"format": "ipv4", "pattern": r"^\d{1,3}(?:\.\d{1,3}){3}$"},
            {"format": "ipv6", "pattern": "^[0-9a-fA-F:.]*:[0-9a-fA-F:.]*(?:%.+)?$"},
        ]
    },
    "ipv4": {"format": "ipv4", "pattern": r"^\d{1,3}(?:\.\d{1,3}){3}$"},
    "ipv6": {"format": "ipv6", "pattern": "^[0-9a-fA-F:.]*:[0-9a-fA-F:.]*(?:%.+)?$"},
    "uri": {"format": "uri", "pattern": r"^[A-Za-z][A-Za-z0-9+.-]*:\S*$"},
    "uri_ref": {"format": "uri-reference", "pattern": r"^\S*$"},
    "uuid": {"format": "uuid", "pattern": f"^{_HEX}{{8}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{12}}$"},
    "tuuid": {"pattern": f"^{_HEX}{{32}}$"},
}
_MOST_BYTES_OF_A_CHARACTER = 4


def add_string_rule(name: str, value: FieldValue, constraints: Constraints) -> bool:
    """Add a rule of buf.validate.StringRules; return whether the schema needs no words."""
    if name in FORMATS:
        if value:
            constraints.add_all(FORMATS[name])
        return True
    if name == "pattern":
        return _add_pattern(value, constraints)
    if name not in _STRING:
        return name in ("strict", "example")
    constraints.add_all(_STRING[name](value))
    return name not in ("len_bytes", "min_bytes", "max_bytes")


def add_cel_pattern(expression: str, constraints: Constraints) -> bool:
    """Add a CEL rule that matches a regular expression; return False if it does anything else."""
    found = pattern_of_rule(expression)
    if found is None:
        return False
    pattern = {"pattern": found.pattern}
    constraints.add_all({"not": pattern} if found.is_negated else pattern)
    return True


def add_bytes_rule(name: str, value: FieldValue, constraints: Constraints) -> bool:
    """Add a rule of buf.validate.BytesRules to the schema of base64; return whether the schema needs no words."""
    if name in _BYTES:
        constraints.add_all(_BYTES[name](value))
    return name in ("const", "in", "not_in", "example")


def _add_pattern(pattern: str, constraints: Constraints) -> bool:
    try:
        constraints.add(pattern=ecma_pattern(pattern))
    except UntranslatableError:
        return False
    return True


def _literal(text: str) -> str:
    return re.sub(r"[\^$\\.*+?()\[\]{}|/]", r"\\\g<0>", text)


def _encoded(values: Iterable[bytes]) -> list[str]:
    return [b64encode(value).decode() for value in values]


def _base64(least: int, most: int | None) -> Schema:
    """Return the schema of base64, with or without padding, for a number of bytes."""
    first, last = (None if each is None else -(-each * 4 // 3) for each in (least, most))
    return {"pattern": f"^[A-Za-z0-9+/_-]{{{first},{'' if last is None else last}}}={{0,2}}$"}


_STRING: dict[str, Callable[[FieldValue], Schema]] = {
    "const": lambda value: {"const": value},
    "len": lambda value: {"minLength": value, "maxLength": value},
    "min_len": lambda value: {"minLength": value},
    "max_len": lambda value: {"maxLength": value},
    "len_bytes": lambda value: {"minLength": -(-value // _MOST_BYTES_OF_A_CHARACTER), "maxLength": value},
    "min_bytes": lambda value: {"minLength": -(-value // _MOST_BYTES_OF_A_CHARACTER)},
    "max_bytes": lambda value: {"maxLength": value},
    "prefix": lambda value: {"pattern": f"^{_literal(value)}"},
    "suffix": lambda value: {"pattern": f"{_literal(value)}$"},
    "contains": lambda value: {"pattern": _literal(value)},
    "not_contains": lambda value: {"not": {"pattern": _literal(value)}},
    "in": lambda value: {"enum": list(value)},
    "not_in": lambda value: {"not": {"enum": list(value)}},
}
_BYTES: dict[str, Callable[[FieldValue], Schema]] = {
    "const": lambda value: {"const": b64encode(value).decode()},
    "len": lambda value: _base64(value, value),
    "min_len": lambda value: _base64(value, None),
    "max_len": lambda value: _base64(0, value),
    "in": lambda value: {"enum": _encoded(value)},
    "not_in": lambda value: {"not": {"enum": _encoded(value)}},
}
