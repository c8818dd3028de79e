"""Regular expressions of CEL (RE2 syntax) as JSON Schema understands them (ECMA-262 with the flag `u`)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_TOKEN = re.compile(
    r"\\x\{(?P<braced>[0-9A-Fa-f]+)\}"
    r"|\\x(?P<hex>[0-9A-Fa-f]{2})"
    r"|\\p(?P<short_property>[A-Z])"
    r"|\\(?P<negated_property>P)(?P<short_negated>[A-Z])"
    r"|\\[pP]\{[^}]*\}"
    r"|\\(?P<escaped>.)"
    r"|\[:(?P<posix>\^?[a-z]+):\]"
    r"|(?P<group>\(\?[^:=!<)]*(?:[:)]|<[A-Za-z_]\w*>))"
    r"|(?P<repeat>\{\d+(?:,\d*)?\})"
    r"|(?P<plain>.)",
    re.DOTALL,
)
_POSIX = {
    "alnum": "0-9A-Za-z", "alpha": "A-Za-z", "ascii": r"\u0000-\u007f", "blank": r"\t ",
    "cntrl": r"\u0000-\u001f\u007f", "digit": "0-9", "graph": "!-~", "lower": "a-z", "print": " -~",
    "punct": r"!-\/:-@\[-`\{-~", "space": r"\t\n\v\f\r ", "upper": "A-Z", "word": "0-9A-Za-z_", "xdigit": "0-9A-Fa-f",
}  # fmt: skip
_SYNTAX = frozenset("^$\\.*+?()[]{}|/")
_CLASSES = frozenset("dDwWbBtnrfv")
_ANCHORS = {"A": "^", "z": "$"}
_CONTROL = re.compile(r"[\u0000-\u001f\u007f-\u00a0\u00ad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f\u2000-\u200f\u2028-\u202f\u205f-\u206f\u2800\u3000\u3164\ud800-\udfff\ufe00-\ufe0f\ufeff\uffa0\ufff0-\uffff]")  # fmt: skip  # noqa: E501
_LAST_OF_BMP = 0xFFFF


class UntranslatableError(ValueError):
    """Pattern with syntax that ECMA-262 lacks, such as flags."""


def ecma_pattern(pattern: str) -> str:
    r"""Return an equal pattern for JSON Schema; raise UntranslatableError.

    RE2 has `\A`, `\z`, `\x{10FFFF}`, `[[:alpha:]]`, `(?P<name>...)` and escapes of any punctuation, unlike ECMA-262.
    Invisible characters become escapes (`\u2028`), so that the pattern can be read.
    """
    return "".join(_translated(pattern))


def _translated(pattern: str) -> Iterator[str]:
    in_class = False
    start_of_class = 0
    for token in _TOKEN.finditer(pattern):
        plain = token["plain"]
        if plain == "[" and not in_class:
            in_class = True
            start_of_class = token.end() + (pattern[token.end() : token.end() + 1] == "^")
            yield plain
        elif plain == "]" and in_class and token.start() > start_of_class:
            in_class = False
            yield plain
        else:
            yield _token(token, in_class=in_class)


def _token(token: re.Match[str], *, in_class: bool) -> str:
    if token["braced"] or token["hex"]:
        return _character(int(token["braced"] or token["hex"], 16), in_class=in_class)
    if token["short_property"] or token["short_negated"]:
        return rf"\{'P' if token['short_negated'] else 'p'}{{{token['short_property'] or token['short_negated']}}}"
    for name, translate in (("posix", _posix), ("escaped", _escaped), ("group", _group), ("plain", _plain)):
        if token[name]:
            return translate(token[name], in_class=in_class)
    return token[0]


def _group(text: str, *, in_class: bool) -> str:
    if in_class:
        return text
    if text.startswith("(?P<"):
        return "(?<" + text[4:]
    if text == "(?:" or text.startswith("(?<"):
        return text
    raise UntranslatableError(f"{text} is a flag, which ECMA-262 lacks")


def _posix(name: str, *, in_class: bool) -> str:
    if not in_class or name not in _POSIX:
        raise UntranslatableError(f"[:{name}:] has no form in ECMA-262")
    return _POSIX[name]


def _escaped(character: str, *, in_class: bool) -> str:
    if character in _ANCHORS and not in_class:
        return _ANCHORS[character]
    if character in _SYNTAX or character in _CLASSES or (character == "-" and in_class):
        return f"\\{character}"
    if character == "s":  # RE2's has ASCII spaces only, and no vertical tab
        return r"\t\n\f\r " if in_class else r"[\t\n\f\r ]"
    if character == "S" and not in_class:
        return r"[^\t\n\f\r ]"
    if character == "a":
        return r"\u0007"
    if character.isalnum():
        raise UntranslatableError(f"\\{character} has no form in ECMA-262")
    return _character(ord(character), in_class=in_class)


def _plain(character: str, *, in_class: bool) -> str:
    if in_class or character not in "]{}":
        return f"\\{character}" if in_class and character in "[]" else _character_text(character)
    return f"\\{character}"


def _character(number: int, *, in_class: bool) -> str:
    character = chr(number)
    is_syntax = character in _SYNTAX or (in_class and character == "-")
    return f"\\{character}" if is_syntax else _character_text(character)


def _character_text(character: str) -> str:
    return f"\\u{ord(character):04x}" if _CONTROL.fullmatch(character) and ord(character) <= _LAST_OF_BMP else character
