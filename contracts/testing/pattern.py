"""Patterns: messages as readable text, in which marks stand for values that vary.

A pattern is a list of fields. The value of a field is a text, a mark or the pattern of a message inside:

    gym_id: <gym_id>
    price {
      minor_units: 1250
    }
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeAlias, Union

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Pattern: TypeAlias = "tuple[tuple[str, Value], ...]"
Value: TypeAlias = Union[str, "Pattern"]

# A valid value, whichever it is; no value; and personal data, which is not written to files.
ANY, UNSET, PERSONAL = "<any>", "<unset>", "<personal>"
_MARK = re.compile(r"<([a-z][a-z0-9_]*)>")
_FIELD = re.compile(r"([a-z_][a-zA-Z0-9_]*): (.*)")
_BLOCK = re.compile(r"([a-z_][a-zA-Z0-9_]*) \{")


def placeholder_in(value: Value) -> str:
    """Return the name of the placeholder that a value is, or an empty string."""
    found = _MARK.fullmatch(value) if isinstance(value, str) and value not in (ANY, UNSET, PERSONAL) else None
    return found[1] if found else ""


def placeholders_of(pattern: Pattern) -> set[str]:
    """Return the names of all placeholders in a pattern, at any depth."""
    names = set()
    for _, value in pattern:
        names |= {placeholder_in(value)} if isinstance(value, str) else placeholders_of(value)
    return names - {""}


def lines_of(pattern: Pattern, indent: str = "") -> Iterator[str]:
    """Yield the lines of a pattern."""
    for name, value in pattern:
        if isinstance(value, str):
            yield f"{indent}{name}: {value}"
        else:
            yield f"{indent}{name} {{"
            yield from lines_of(value, indent + "  ")
            yield f"{indent}}}"


def parse_pattern(lines: Sequence[str]) -> Pattern:
    """Return the pattern in these lines; raise ValueError with the malformed line."""
    pattern, rest = _parse(list(lines))
    if rest:
        raise ValueError(f"unexpected line: {rest[0].strip()}")
    return pattern


def _parse(lines: list[str]) -> tuple[Pattern, list[str]]:
    fields: list[tuple[str, Value]] = []
    while lines and lines[0].strip() != "}":
        line = lines.pop(0).strip()
        if found := _FIELD.fullmatch(line):
            fields.append((found[1], found[2]))
        elif found := _BLOCK.fullmatch(line):
            inner, lines = _parse(lines)
            if not lines:
                raise ValueError(f"{found[1]} has no closing brace")
            del lines[0]
            fields.append((found[1], inner))
        else:
            raise ValueError(f"malformed line: {line}")
    return tuple(fields), lines
