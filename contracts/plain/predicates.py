"""Predicates of the fast path: each returns True only if a value surely satisfies its rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from contracts.field_value import FieldValue

Accepts: TypeAlias = Callable[[FieldValue], bool]


def doubtful(_value: object) -> bool:
    """Return False: this predicate leaves every value to protovalidate."""
    return False


def anything(_value: object) -> bool:
    """Return True: this predicate accepts every value."""
    return True


def all_of(*predicates: Accepts) -> Accepts:
    """Return the predicate for values that all `predicates` accept; `doubtful` itself if one of them is."""
    if doubtful in predicates:
        return doubtful
    others = tuple(each for each in predicates if each is not anything)
    if len(others) > 1:
        first, second = others[0], all_of(*others[1:])
        return lambda value: first(value) and second(value)
    return others[0] if others else anything
