"""Patterns of texts that Python reads like RE2, the regular expressions of protovalidate.

A known pattern is between ^ and $. It consists of letters, digits, a few signs, classes of such characters, groups and
quantifiers. At most one group has a quantifier, and it contains neither alternatives nor groups.
"""

from __future__ import annotations

import re

from contracts.plain.predicates import Accepts, doubtful

_SIGN = "[A-Za-z0-9_/@-]"
_CLASS = r"\[(?:[A-Za-z0-9](?:-[A-Za-z0-9])?|[_/+])+-?\]"
_TIMES = r"(?:[*+?]|\{[0-9]{1,3}(?:,[0-9]{0,3})?\})"
_ITEM = f"(?:{_SIGN}|{_CLASS}){_TIMES}?"
_SEQUENCE = rf"(?:{_ITEM}|\((?:{_ITEM}|\|)+\))*"
_KNOWN = re.compile(rf"\^({_SEQUENCE}(?:\((?:{_ITEM})+\){_TIMES})?{_SEQUENCE})\$")
_ITEM_PARTS = re.compile(f"({_SIGN}|{_CLASS})({_TIMES}?)")
# The time of a match is at most quadratic in the length of a text, so longer texts are left to RE2.
_LONGEST_TEXT = 256


def accepts_pattern(pattern: str) -> Accepts:
    """Return the predicate for texts that match a pattern; `doubtful` if the pattern is unknown.

    It accepts only ASCII without control characters.
    """
    known = _KNOWN.fullmatch(pattern)
    if known is None:
        return doubtful
    # A possessive quantifier never backtracks, so a match is quick. It can only reject more texts.
    possessive = _ITEM_PARTS.sub(lambda item: item[0] + ("+" if item[2] else ""), known[1])
    try:
        matches = re.compile(possessive).fullmatch
    except re.error:  # such as bounds in reverse order
        return doubtful
    return lambda text: len(text) <= _LONGEST_TEXT and matches(text) is not None
