"""Literals of CEL expressions. Their neighbours are likely boundaries of the rule."""

from __future__ import annotations

import re

_TEXT = re.compile(r"'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\"")
_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?")
_DURATION = re.compile(r"duration\(['\"]([^'\"]+)['\"]\)")
_SPAN = re.compile(r"(\d+(?:\.\d+)?)(h|ms|us|ns|m|s)")
_UNITS_S = {"h": 3600, "m": 60, "s": 1, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


def texts_in(expression: str) -> list[str]:
    """Return the string literals of an expression."""
    return list(dict.fromkeys(first or second for first, second in _TEXT.findall(expression)))


def numbers_in(expression: str) -> list[float]:
    """Return the numbers of an expression, and its durations in seconds."""
    durations = [
        sum(float(amount) * _UNITS_S[unit] for amount, unit in _SPAN.findall(text))
        for text in _DURATION.findall(expression)
    ]
    return list(dict.fromkeys([*durations, *map(float, _NUMBER.findall(_TEXT.sub("", expression)))]))
