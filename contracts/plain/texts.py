"""Plain texts: quick predicates for the rules of string fields.

Each predicate accepts ASCII without control characters, except for line feeds in texts of several lines. Within that
range, the rules of solo60/common/v1/text.proto are simple.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from contracts.plain.patterns import accepts_pattern
from contracts.plain.predicates import Accepts, all_of, doubtful
from solo60.common.v1 import text_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from contracts.field_value import FieldValue

_UNLIMITED = 2**64


def accepts_text(rules: Mapping[str, FieldValue]) -> Accepts:
    """Return the predicate for texts with these string rules, given by the name of each rule."""
    if not rules:
        return _has_no_zero
    others = dict(rules)
    lowest, highest = others.pop("min_len", 0), others.pop("max_len", _UNLIMITED)
    accepts = all_of(*(_accepts_format(name, value) for name, value in others.items())) if others else is_line
    if accepts is doubtful or (lowest, highest) == (0, _UNLIMITED):
        return accepts
    return lambda text: lowest <= len(text) <= highest and accepts(text)


def _accepts_format(name: str, value: FieldValue) -> Accepts:
    if name in _BY_ARGUMENT:
        return _BY_ARGUMENT[name](value)
    # A rule that is off rejects nothing, so a predicate that applies it is strict but sound.
    return _FORMATS.get(name, doubtful)


def _has_no_zero(text: str) -> bool:
    """Return whether a text lacks U+0000, which no request may contain."""
    return "\0" not in text


def is_line(text: str) -> bool:
    """Return whether a text is ASCII without control characters."""
    return text.isascii() and text.isprintable()


def are_lines(texts: tuple[str, ...]) -> bool:
    """Return whether all texts are ASCII without control characters. Quicker than one check for each."""
    return is_line("".join(texts))


def _is_multi_line(text: str) -> bool:
    return text.isascii() and (text.isprintable() or text.replace("\n", "").isprintable())


def _is_name(text: str) -> bool:
    return text.isascii() and text.isprintable() and not text.isspace() and text != ""


# Encoding, translating and comparing take a third of the time of a regular expression.
_SHAPE_OF_BYTE = bytes(
    ord("0") if chr(byte) in "0123456789abcdefABCDEF" else byte if chr(byte) == "-" else 0 for byte in range(256)
)
_UUID_SHAPE = b"00000000-0000-0000-0000-000000000000"


def _is_uuid(text: str) -> bool:
    return text.encode().translate(_SHAPE_OF_BYTE) == _UUID_SHAPE


_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}")


def _is_ipv4(text: str) -> bool:
    return _IPV4.fullmatch(text) is not None


# All lengths that RFC 5321 limits may be at least 63. Without a double hyphen, no label is in the encoding of IDNA
# ("xn--").
_LONGEST_ADDRESS = 63
_WORD = "[A-Za-z0-9_+]++"
_LABEL = "[A-Za-z0-9]++(?:-[A-Za-z0-9]++)*"
_ADDRESS = re.compile(rf"{_WORD}(?:[.-]{_WORD})*@(?:{_LABEL}\.)+[A-Za-z]{{2,}}")


def _is_address(text: str) -> bool:
    return len(text) <= _LONGEST_ADDRESS and _ADDRESS.fullmatch(text) is not None


_FORMATS: Mapping[str, Accepts] = {
    "uuid": _is_uuid,
    "ip": _is_ipv4,
    text_pb2.line.full_name: is_line,
    text_pb2.name.full_name: _is_name,
    text_pb2.multi_line.full_name: _is_multi_line,
    text_pb2.mail_address.full_name: _is_address,
}
_BY_ARGUMENT: Mapping[str, Callable[[FieldValue], Accepts]] = {
    "pattern": accepts_pattern,
    "const": lambda value: value.__eq__ if is_line(value) else doubtful,
}
