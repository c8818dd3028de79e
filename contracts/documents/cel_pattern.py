"""CEL rules that only match a regular expression, such as `!this.matches('[0-9]')`, as patterns of JSON Schema."""

from __future__ import annotations

import re
from dataclasses import dataclass

from contracts.documents.ecma_pattern import UntranslatableError, ecma_pattern

_RULE = re.compile(
    r"(?:!rules?(?:\.\w+)?\s*\|\|\s*)?(?P<negation>!)?this\.matches\(\s*"
    r"(?P<raw>[rR])?(?P<quote>['\"])(?P<text>(?:(?!(?P=quote))[^\\]|\\.)*)(?P=quote)\s*\)",
    re.DOTALL,
)
_ESCAPE = re.compile(r"\\(?:[xX]([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|([0-3][0-7]{2})|(.))", re.DOTALL)
_SINGLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


@dataclass(frozen=True, slots=True)
class CelPattern:
    """Pattern for JSON Schema that a text must match, or must not match if `is_negated`."""

    pattern: str
    is_negated: bool


def pattern_of_rule(expression: str) -> CelPattern | None:
    """Return the pattern that a CEL rule on a string requires, or None if the rule requires anything else."""
    found = _RULE.fullmatch(expression.strip())
    if found is None:
        return None
    text = found["text"] if found["raw"] else _ESCAPE.sub(_unescaped, found["text"])
    try:
        return CelPattern(ecma_pattern(text), is_negated=bool(found["negation"]))
    except UntranslatableError:
        return None


def _unescaped(escape: re.Match[str]) -> str:
    two, four, eight, octal, single = escape.groups()
    if octal:
        return chr(int(octal, 8))
    if single:
        return _SINGLE.get(single, single)
    return chr(int(two or four or eight, 16))
