"""Values on both sides of a rule: the last that it should accept and the first that it should reject.

They are guesses from the rule's argument. protovalidate judges them in `contracts.testing.cases`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from contracts.testing.literals import numbers_in, texts_in
from contracts.testing.rules import Probe
from contracts.testing.text_probes import other_texts, text_values

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from contracts.field_value import FieldValue
    from contracts.testing.rules import Rule

SECOND_NS = 10**9
# Years 2000 and 2200, for rules about the current time.
PAST, FUTURE = Timestamp(seconds=946_684_800), Timestamp(seconds=7_258_118_400)
INTEGERS = {
    **dict.fromkeys(
        (FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_SINT32, FieldDescriptor.TYPE_SFIXED32), (-(2**31), 2**31 - 1)
    ),
    **dict.fromkeys(
        (FieldDescriptor.TYPE_INT64, FieldDescriptor.TYPE_SINT64, FieldDescriptor.TYPE_SFIXED64), (-(2**63), 2**63 - 1)
    ),
    **dict.fromkeys((FieldDescriptor.TYPE_UINT32, FieldDescriptor.TYPE_FIXED32), (0, 2**32 - 1)),
    **dict.fromkeys((FieldDescriptor.TYPE_UINT64, FieldDescriptor.TYPE_FIXED64), (0, 2**64 - 1)),
}
FLOATS = (FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_DOUBLE)
TIMES = {each.DESCRIPTOR.full_name: each for each in (Timestamp, Duration)}


def probes_of(
    rule: Rule, field: FieldDescriptor, base: FieldValue, accepts: Callable[[FieldValue], bool]
) -> Iterator[Probe]:
    """Yield probes of a rule about one value of `field`; `base` is a value that `accepts` all rules."""
    if rule.name == "required":
        yield Probe((base,), (None,))
    elif rule.name.startswith("cel"):
        yield from _around_literals(rule.value, field, base)
    elif rule.is_bound:
        yield from _of_bound(rule, field)
    elif rule.name in ("const", "in", "not_in"):
        listed = (rule.value,) if rule.name == "const" else tuple(rule.value)
        yield from _of_list(rule, listed, field, base)
    elif isinstance(base, str | bytes):
        yield text_values(rule, base, accepts)
    elif rule.id == "enum.defined_only":
        known = _numbers_of_enum(field)
        yield Probe((min(known), max(known)), (max(known) + 1, min(known) - 1))
    elif rule.id.endswith(".finite"):
        yield Probe((), (math.inf, -math.inf, math.nan))
    elif rule.name in ("lt_now", "gt_now", "within"):
        yield Probe((), (PAST, FUTURE))
    # Fallback, also for predefined rules of any contract.
    yield Probe((), tuple(usual_values(field, base)))


def usual_values(field: FieldDescriptor, base: FieldValue) -> Iterator[FieldValue]:
    """Yield diverse values for one value of a field, whatever its rules."""
    kind = field.message_type.full_name if field.message_type is not None else ""
    if isinstance(base, str | bytes):
        yield from other_texts(base)
    elif field.type == FieldDescriptor.TYPE_BOOL:
        yield from (True, False)
    elif field.enum_type is not None:
        yield from _numbers_of_enum(field)
    elif kind in TIMES and base is not None:
        shifts_ns = [step_s * SECOND_NS for step_s in (1, 60, 3600, 86_400, 400 * 86_400)]
        yield from _existing(shifted(base, sign * ns) for ns in (1, *shifts_ns) for sign in (1, -1))
        yield TIMES[kind]()
    elif not kind:
        yield from _in_range(field, (1, 0, -1, *INTEGERS.get(field.type, (math.nan, math.inf))))


def shifted(time: FieldValue, by_ns: int) -> FieldValue:
    """Return a Timestamp or Duration plus `by_ns`, or None if it is out of the type's range."""
    result = type(time)()
    try:
        result.FromNanoseconds(time.ToNanoseconds() + by_ns)
        result.ToJsonString()
    except ValueError:
        return None
    return result


def neighbours(field: FieldDescriptor, value: FieldValue) -> tuple[list[FieldValue], list[FieldValue]]:
    """Return the values just below and just above a number or time, the nearest first."""
    if field.message_type is not None:
        return list(_existing([shifted(value, -1)])), list(_existing([shifted(value, 1)]))
    if field.type in FLOATS:
        # The nearest number of a float is farther away than that of a double.
        wide = abs(value) * 1e-6 + 1e-6
        return [math.nextafter(value, -math.inf), value - wide], [math.nextafter(value, math.inf), value + wide]
    return list(_in_range(field, [value - 1])), list(_in_range(field, [value + 1]))


def _of_bound(rule: Rule, field: FieldDescriptor) -> Iterator[Probe]:
    below, above = neighbours(field, rule.value)
    inside, outside = (above, below) if rule.name in ("gt", "gte") else (below, above)
    if rule.name.endswith("e"):
        yield Probe((rule.value,), tuple(outside))
    else:
        yield Probe(tuple(inside), (rule.value,))


def _of_list(rule: Rule, listed: tuple[FieldValue, ...], field: FieldDescriptor, base: FieldValue) -> Iterator[Probe]:
    if rule.id == "any.in":
        named = tuple(type(base)(type_url=url) for url in listed)
        yield Probe(named, (type(base)(type_url="type.googleapis.com/unknown.Type"),))
    elif rule.id == "any.not_in":
        yield Probe((), tuple(type(base)(type_url=url) for url in listed))
    elif rule.id.startswith("field_mask."):
        yield from _of_masks(rule, base)
    elif rule.name == "not_in":
        yield Probe((base,), listed)
    else:
        yield Probe(listed, tuple(_unlisted(listed, field, base)))


def _of_masks(rule: Rule, base: FieldValue) -> Iterator[Probe]:
    if rule.name == "const":
        yield Probe((rule.value,), (type(base)(paths=[*rule.value.paths, "unknown"]),))
    known = () if rule.name == "const" else tuple(type(base)(paths=[path]) for path in rule.value)
    unknown = type(base)(paths=["unknown"])
    yield Probe((unknown,), known) if rule.name == "not_in" else Probe(known, (unknown,))


def _unlisted(listed: tuple[FieldValue, ...], field: FieldDescriptor, base: FieldValue) -> Iterator[FieldValue]:
    for value in listed:
        if isinstance(base, str | bytes):
            yield value + value[-1:]
        elif field.enum_type is None and field.type != FieldDescriptor.TYPE_BOOL:
            below, above = neighbours(field, value)
            yield from (*above, *below)
    yield from usual_values(field, base)


def _around_literals(expression: str, field: FieldDescriptor, base: FieldValue) -> Iterator[Probe]:
    """Yield the literals of a CEL expression, each beside its neighbours, with either side as the accepted one."""
    if isinstance(base, str | bytes):
        for literal in texts_in(expression):
            text = cast("FieldValue", literal if isinstance(base, str) else literal.encode())
            yield Probe((), (text, text + text[-1:], *other_texts(text)))
        return
    if field.message_type is not None and field.message_type.full_name not in TIMES:
        return
    for number in numbers_in(expression):
        value = (
            shifted(TIMES[field.message_type.full_name](), int(number * SECOND_NS)) if field.message_type else number
        )
        if field.type not in FLOATS and field.message_type is None:
            value = int(number)
        if value is None or not (field.message_type or list(_in_range(field, [value]))):
            continue
        for near in neighbours(field, value):
            yield from (probe for each in near for probe in (Probe((value,), (each,)), Probe((each,), (value,))))


def _numbers_of_enum(field: FieldDescriptor) -> list[int]:
    return [value.number for value in field.enum_type.values] if field.enum_type is not None else []


def _in_range(field: FieldDescriptor, numbers: Iterable[FieldValue]) -> Iterator[FieldValue]:
    least, most = INTEGERS.get(field.type, (-math.inf, math.inf))
    return (number for number in numbers if field.type in FLOATS or least <= number <= most)


def _existing(values: Iterable[FieldValue]) -> Iterator[FieldValue]:
    return (value for value in values if value is not None)
