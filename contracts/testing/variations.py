"""Systematic changes to a message, in search of one that breaks a CEL rule about several of its fields."""

from __future__ import annotations

from itertools import islice, permutations
from typing import TYPE_CHECKING

from google.protobuf.descriptor import FieldDescriptor

from buf.validate import validate_pb2
from contracts.example_messages import candidate_values, set_value
from contracts.testing.list_probes import lists_of
from contracts.testing.literals import numbers_in, texts_in
from contracts.testing.placement import VALUES, element_of, element_place, type_of, value_in, with_value
from contracts.testing.probes import INTEGERS, SECOND_NS, TIMES, neighbours, shifted, usual_values
from contracts.testing.rules import Probe, rules_of_field

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.message import Message

    from contracts.field_value import FieldValue

MAX_DEPTH = 2
# Number of changed messages to which a second change is made.
MAX_FIRST_CHANGES = 80


def variations(base: Message, expression: str, depth: int = MAX_DEPTH) -> Iterator[Probe]:
    """Yield probes of changed messages: those around literals of `expression` first, then with one or two changes."""
    yield from _distances(base, expression)
    for field in type_of(base).fields:
        for probe in _around(field, base, expression):
            yield _placed(base, field, probe)
    yield from (Probe((), (changed,)) for changed in _changed(base, expression, depth))
    for first in islice(_changed(base, expression, depth), MAX_FIRST_CHANGES):
        yield from (Probe((), (second,)) for second in islice(_changed(first, expression, 0), MAX_FIRST_CHANGES))


def other_values(field: FieldDescriptor, base: Message, expression: str) -> Iterator[FieldValue]:
    """Yield values of a whole field: none, common ones, and texts of `expression`."""
    yield None
    yield from _named_by_rules(field)
    for value in candidate_values(field, MAX_DEPTH):
        alone = type(base)()
        set_value(alone, field, value)
        whole = value_in(alone, field, "")
        yield whole
        least = field.GetOptions().Extensions[validate_pb2.field].repeated.min_items
        if isinstance(whole, list) and least > 1:
            yield from lists_of(field, whole, least)
    if field.type == FieldDescriptor.TYPE_STRING:
        for text in texts_in(expression):
            yield [text] if field.is_repeated else text
    if not field.is_repeated:
        yield from usual_values(element_of(field, ""), value_in(base, field, ""))


def _named_by_rules(field: FieldDescriptor) -> Iterator[FieldValue]:
    """Yield the constants, the listed values and the inner side of the bounds that the rules of a scalar field name."""
    if field.message_type is not None:
        return
    for rule in rules_of_field(field):
        if rule.name in ("const", "in"):
            for value in [rule.value] if rule.name == "const" else rule.value:
                yield [value] if field.is_repeated else value
        elif rule.is_bound and not field.is_repeated:
            below, above = neighbours(field, rule.value)
            yield from (rule.value, *below[:1], *above[:1])


def _changed(base: Message, expression: str, depth: int) -> Iterator[Message]:
    """Yield copies of a message with one change, the most likely first."""
    for field in type_of(base).fields:
        yield with_value(base, field, None)
    for one, other in permutations(type_of(base).fields, 2):
        if _is_alike(one, other):
            first, second = value_in(base, one, ""), value_in(base, other, "")
            yield with_value(base, one, second)
            yield with_value(with_value(base, one, second), other, first)
    for field in type_of(base).fields:
        yield from (with_value(base, field, value) for value in other_values(field, base, expression))
        place = element_place(field)
        element = value_in(base, field, place)
        if depth and element is not None and _is_message(element_of(field, place)):
            yield from (with_value(base, field, each, place) for each in _changed(element, expression, depth - 1))


def _distances(base: Message, expression: str) -> Iterator[Probe]:
    """Yield probes with one field at a literal's distance from another field, and beside it."""
    for one, other in permutations(type_of(base).fields, 2):
        if not (_is_alike(one, other) and _is_ordered(one)):
            continue
        for number in (*numbers_in(expression), 0):
            exact = _plus(one, value_in(base, other, ""), number)
            if exact is not None:
                for near in (each for side in neighbours(one, exact) for each in side):
                    yield _placed(base, one, Probe((exact,), (near,)))
                    yield _placed(base, one, Probe((near,), (exact,)))


def _around(field: FieldDescriptor, base: Message, expression: str) -> Iterator[Probe]:
    """Yield probes of a number at a literal and beside it."""
    if field.is_repeated or field.type not in INTEGERS:
        return
    for number in map(int, numbers_in(expression)):
        zero = value_in(type(base)(), field, "")
        exact = _plus(field, zero, number)
        if exact is not None:
            for near in (each for side in neighbours(field, exact) for each in side):
                yield Probe((exact,), (near,))
                yield Probe((near,), (exact,))


def _plus(field: FieldDescriptor, value: FieldValue, number: float) -> FieldValue:
    """Return the sum, or None if the type of the field cannot have it."""
    if field.message_type is not None:
        return shifted(value, int(number * SECOND_NS))
    if field.type not in INTEGERS:
        return value + number
    least, most = INTEGERS[field.type]
    total = value + int(number)
    return total if least <= total <= most else None


def _placed(base: Message, field: FieldDescriptor, probe: Probe) -> Probe:
    accepted, rejected = (
        tuple(with_value(base, field, value) for value in values) for values in (probe.accepted, probe.rejected)
    )
    return Probe(accepted, rejected)


def _is_alike(one: FieldDescriptor, other: FieldDescriptor) -> bool:
    return (one.type, one.message_type, one.enum_type, one.is_repeated) == (
        other.type,
        other.message_type,
        other.enum_type,
        other.is_repeated,
    )


def _is_ordered(field: FieldDescriptor) -> bool:
    if field.message_type is not None:
        return not field.is_repeated and field.message_type.full_name in TIMES
    return not field.is_repeated and (
        field.type in INTEGERS or field.type in (FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_DOUBLE)
    )


def _is_message(element: FieldDescriptor) -> bool:
    return element.message_type is not None and element.message_type.full_name not in VALUES
