"""Rules on numbers as JSON Schema."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from contracts.documents.integer_pattern import integer_pattern

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from contracts.documents.json_schema import Constraints, Schema

Number: TypeAlias = int | float

KNOWN_RULES = frozenset({"const", "lt", "lte", "gt", "gte", "in", "not_in", "finite", "example"})
NOT_NUMBERS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bounds of a number. A lower bound above the upper one excludes the numbers between them."""

    lower: Number | None
    upper: Number | None
    excludes_lower: bool
    excludes_upper: bool

    @classmethod
    def of(cls, rules: Message) -> Bounds:
        """Return the bounds that the rules of a numeric type set."""
        declared = {field.name: value for field, value in rules.ListFields()}
        return cls(
            declared.get("gt", declared.get("gte")), declared.get("lt", declared.get("lte")),
            "gt" in declared, "lt" in declared,
        )  # fmt: skip

    @property
    def excludes_the_middle(self) -> bool:
        """Whether the accepted numbers are those outside of the bounds."""
        return self.lower is not None and self.upper is not None and self.upper < self.lower

    def allow(self, number: float) -> bool:
        """Return whether a number is within the bounds."""
        if math.isnan(number):
            return self.lower is None and self.upper is None
        above = self.lower is None or number > self.lower or (number == self.lower and not self.excludes_lower)
        below = self.upper is None or number < self.upper or (number == self.upper and not self.excludes_upper)
        return above or below if self.excludes_the_middle else above and below


def integer_schema(rules: Message | None, *, is_unsigned: bool) -> Schema:
    """Return the schema of an integer of 32 bits."""
    bounds = _bounds(rules)
    schema: Schema = {"type": "integer", "format": "uint32" if is_unsigned else "int32"}
    if is_unsigned and (bounds.lower is None or bounds.excludes_the_middle):
        schema["minimum"] = 0
    schema |= _range_keywords(bounds)
    return schema


def long_schema(rules: Message | None, *, is_unsigned: bool) -> Schema:
    """Return the schema of an integer of 64 bits: a string, which no JSON parser rounds."""
    bounds, least = _bounds(rules), 0 if is_unsigned else None
    lower = None if bounds.lower is None else int(bounds.lower) + bounds.excludes_lower
    upper = None if bounds.upper is None else int(bounds.upper) - bounds.excludes_upper
    schema: Schema = {"type": "string", "format": "uint64" if is_unsigned else "int64"}
    if bounds.excludes_the_middle:
        schema["anyOf"] = [{"pattern": integer_pattern(least, upper)}, {"pattern": integer_pattern(lower, None)}]
    else:
        schema["pattern"] = integer_pattern(least if lower is None else lower, upper)
    return schema


def float_schema(rules: Message | None, *, kind: str) -> Schema:
    """Return the schema of a floating-point number, which may also be "NaN", "Infinity" or "-Infinity"."""
    bounds = _bounds(rules)
    number = {"type": "number", "format": kind} | _range_keywords(bounds)
    if rules is not None and _value(rules, "finite"):
        return number
    names = [name for name, value in NOT_NUMBERS.items() if bounds.allow(value)]
    return {"anyOf": [number, {"type": "string", "enum": names}]} if names else number


def add_lists(rules: Message, constraints: Constraints, *, as_text: bool) -> None:
    """Add the rules `const`, `in` and `not_in`. Integers of 64 bits are strings."""
    for field, value in rules.ListFields():
        if field.name == "const":
            constraints.add(const=str(value) if as_text else value)
        elif field.name in ("in", "not_in"):
            listed = [str(each) if as_text else each for each in value]
            constraints.add_all({"enum": listed} if field.name == "in" else {"not": {"enum": listed}})


def _bounds(rules: Message | None) -> Bounds:
    return Bounds(None, None, excludes_lower=False, excludes_upper=False) if rules is None else Bounds.of(rules)


def _range_keywords(bounds: Bounds) -> Schema:
    lower: Schema = {}
    upper: Schema = {}
    if bounds.lower is not None:
        lower = {"exclusiveMinimum" if bounds.excludes_lower else "minimum": bounds.lower}
    if bounds.upper is not None:
        upper = {"exclusiveMaximum" if bounds.excludes_upper else "maximum": bounds.upper}
    return {"anyOf": [upper, lower]} if bounds.excludes_the_middle else lower | upper


def _value(rules: Message, name: str) -> object:
    return next((value for field, value in rules.ListFields() if field.name == name), None)
