"""Texts and bytes on both sides of the rules about their length, their content and their format."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.testing.rules import Probe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from contracts.field_value import FieldValue
    from contracts.testing.rules import Rule

LEAST = frozenset({"min_len", "min_bytes"})
LENGTHS = frozenset({"len", "min_len", "max_len", "len_bytes", "min_bytes", "max_bytes"})
# Longest text that is tried against a pattern without a limit of its own.
MAX_PATTERN_LENGTH = 4096
ENDINGS = ("\n", "\x00", " ", "\u2028", "\u202e", "é", "!", "_")
TEXTS = ("", " ", "?", "0", "A", "a", "\x00", "\u200b", "/", "@", "x" * 300)


def text_values(rule: Rule, base: FieldValue, accepts: Callable[[FieldValue], bool]) -> Probe:
    """Return the texts or bytes on both sides of a rule; `base` is one that `accepts` all rules of the field."""
    other = tuple(other_texts(base))
    if rule.name in LENGTHS:
        outside = (-1,) if rule.name in LEAST else (1, -1)
        rejected = [text for step in outside for text in _of_length(rule, base, rule.value + step)]
        return Probe(tuple(_longest_and_widest(_of_length(rule, base, rule.value), accepts)), tuple(rejected))
    if rule.name == "pattern":
        shortest, longest = _shortest(base, accepts), _longest(base, accepts)
        ends = (shortest[:-1], longest + longest[-1:])
        return Probe((shortest, longest) if len(longest) < MAX_PATTERN_LENGTH else (shortest,), (*ends, *other))
    if rule.name in ("prefix", "suffix", "contains"):
        return Probe((base,), (base.replace(rule.value, base[:0]), *other))
    if rule.name == "not_contains":
        return Probe((base,), (base + rule.value, rule.value))
    return Probe((), other)


def other_texts(base: FieldValue) -> Iterator[FieldValue]:
    """Yield texts or bytes that patterns and formats often reject, most of them near to `base`."""
    texts = (*(end for end in ENDINGS), *TEXTS)
    for number, text in enumerate(texts if isinstance(base, str) else [text.encode() for text in texts]):
        if number < len(ENDINGS):
            yield base + text
            yield base[:-1] + text
        else:
            yield text
    yield from (base.upper(), base.lower(), base[:-1])


def _longest_and_widest(texts: Iterator[FieldValue], accepts: Callable[[FieldValue], bool]) -> Iterator[FieldValue]:
    """Yield the first accepted text, and the first one of letters outside ASCII."""
    accepted = list(filter(accepts, texts))
    yield from accepted[:1]
    yield from [text for text in accepted[1:] if not text.isascii()][:1]


def _of_length(rule: Rule, base: FieldValue, length: int) -> Iterator[FieldValue]:
    for text in _stretched(base, length):
        size = len(text.encode()) if isinstance(text, str) and rule.name.endswith("bytes") else len(text)
        if size == length:
            yield text


def _stretched(base: FieldValue, length: int) -> Iterator[FieldValue]:
    more = max(length - len(base), 0)
    if isinstance(base, str) and "@" in base and length > 0:
        yield ("a@" + ".".join(["x" * 50] * (length // 51 + 1)))[:length]
    yield base[:length] + base[-1:] * more
    yield base[:1] * more + base[-length:] if length > 0 else base[:0]
    if isinstance(base, str):
        yield from (letter * length for letter in "xé")


def _shortest(base: FieldValue, accepts: Callable[[FieldValue], bool]) -> FieldValue:
    while base and accepts(base[:-1]):
        base = base[:-1]
    return base


def _longest(base: FieldValue, accepts: Callable[[FieldValue], bool]) -> FieldValue:
    """Return the base with its last character repeated as often as possible."""
    step = MAX_PATTERN_LENGTH
    while step:
        longer = base + base[-1:] * step
        if len(longer) <= MAX_PATTERN_LENGTH and accepts(longer):
            base = longer
        else:
            step //= 2
    return base
