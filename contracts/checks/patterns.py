"""Characters that a regular expression of a contract (RE2) matches."""

from __future__ import annotations

import re
import warnings

_CLASS = re.compile(r"\[(?:\\.|[^\]^\\])(?:\\.|[^\]\\])*\]")
_GROUP = re.compile(r"\([^()|]*(?:\|[^()|]*)*\)")
# Parts of a pattern, outside of listed character classes, that match any character or leave one alternative unanchored.
_OPEN = re.compile(r"(?<!\\)\.|\[|\\[CsSWD]|\|")
# "$" as a character, and the flag that lets "$" match before a line break.
_ESCAPED_END = re.compile(r"(?<!\\)(?:\\\\)*\\\$$")
_MULTI_LINE = re.compile(r"\(\?[a-zA-Z]*m")
# Names of classes that Python does not know, such as \pL and [:alpha:]. Some of them contain control characters.
_NAMED = re.compile(r"\\[pP](?:\{\^?\w+\}|\w)|\[:\^?\w+:\]")
_NAMED_CONTROL = re.compile(r"\\p(?:\{(?:C|\^|Any)|C)|\\P|\[:(?:cntrl|space|ascii|\^)")
# An escaped or plain character outside of a class.
_CHARACTER = re.compile(
    r"\\x\{[0-9a-fA-F]+\}|\\x[0-9a-fA-F]{2}|\\0[0-7]{0,2}|\\[1-7][0-7]{1,2}|\\.|[\x00-\x1f\x7f-\x9f]", re.DOTALL
)
_CODE = re.compile(r"\\x\{?([0-9a-fA-F]+)\}?")
_OCTAL = re.compile(r"\\([0-7]{1,3})")
_CONTROLS = [chr(code) for code in (*range(0x20), *range(0x7F, 0xA0))]
_ESCAPES = {"\\n": "\n", "\\r": "\r", "\\t": "\t", "\\f": "\f", "\\v": "\v", "\\a": "\a"}


def lists_all(pattern: str) -> bool:
    """Return whether a pattern is anchored at both ends and lists every character that it matches."""
    if not (pattern.startswith("^") and pattern.endswith("$")) or _ESCAPED_END.search(pattern):
        return False
    if _MULTI_LINE.search(pattern):
        return False
    rest = _CLASS.sub("x", pattern)
    while (shorter := _GROUP.sub("x", rest)) != rest:
        if _OPEN.search("".join(_GROUP.findall(rest)).replace("|", "")):
            return False
        rest = shorter
    return not _OPEN.search(rest)


def admitted_control(pattern: str) -> list[str]:
    """Return control characters that a pattern names, in a class of characters or alone."""
    found = ["\n"] if _NAMED_CONTROL.search(pattern) else []
    found += ["\t"] if "[:blank:]" in pattern else []
    plain = _NAMED.sub("", pattern)
    for listed in _CLASS.findall(plain):
        found += _controls_in(listed)
    for character in _CHARACTER.findall(_CLASS.sub("", plain)):
        code, octal = _CODE.fullmatch(character), _OCTAL.fullmatch(character)
        char = chr(int(code[1], 16)) if code else _ESCAPES.get(character, character)
        char = chr(int(octal[1], 8)) if octal else char
        found += [char] if char in _CONTROLS else []
    return found


def _controls_in(listed: str) -> list[str]:
    """Return the control characters in a class, such as "[a-z]" with a line break."""
    python = re.sub(r"\\x\{([0-9a-fA-F]+)\}", lambda code: f"\\U{int(code[1], 16):08x}", listed)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            matches = re.compile(python).fullmatch
    except (re.error, OverflowError):  # a class of RE2 alone
        return []
    return [char for char in _CONTROLS if matches(char)]
