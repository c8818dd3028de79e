"""Lists and maps on both sides of the rules about their size and their uniqueness."""

from __future__ import annotations

from itertools import cycle, islice
from typing import TYPE_CHECKING

from contracts.testing.literals import numbers_in
from contracts.testing.placement import element_of
from contracts.testing.rules import Probe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from google.protobuf.descriptor import FieldDescriptor

    from contracts.field_value import FieldValue
    from contracts.testing.rules import Rule

# Larger lists are not built.
MAX_SIZE = 100_000


def list_probes(rule: Rule, field: FieldDescriptor, base: list[FieldValue]) -> Iterator[Probe]:
    """Yield lists on both sides of a rule; `base` is a list that all rules accept."""
    if rule.name == "required":
        yield Probe((base,), (None,))
    elif rule.name == "unique":
        yield Probe((), ([*base, *base[:1]], base[:1] * 2))
    elif base:
        yield from _around_sizes(rule, lambda size: lists_of(field, base, size))
    yield Probe((), ([], base * 2))


def map_probes(rule: Rule, field: FieldDescriptor, base: dict[FieldValue, FieldValue]) -> Iterator[Probe]:
    """Yield maps on both sides of a rule; `base` is a map that all rules accept."""
    if rule.name == "required":
        yield Probe((base,), (None,))
    elif base:
        keys, content = list(base), next(iter(base.values()))
        entry_key = element_of(field, "keys")
        yield from _around_sizes(
            rule,
            lambda size: [
                dict.fromkeys(each, content) for each in lists_of(entry_key, keys, size) if len(set(each)) == size
            ],
        )
    yield Probe((), ({},))


def _around_sizes(rule: Rule, of_size: Callable[[int], list[FieldValue]]) -> Iterator[Probe]:
    if rule.name in ("min_items", "min_pairs"):
        steps = [(rule.value, rule.value - 1)]
    elif rule.name in ("max_items", "max_pairs"):
        steps = [(rule.value, rule.value + 1)]
    else:
        sizes = [int(number) for number in numbers_in(rule.value)] if isinstance(rule.value, str) else []
        steps = [pair for n in sizes for near in (n - 1, n + 1) for pair in ((n, near), (near, n))]
    for accepted, rejected in steps:
        if min(accepted, rejected) >= 0 and max(accepted, rejected) <= MAX_SIZE:
            yield Probe(tuple(of_size(accepted)), tuple(of_size(rejected)))


def lists_of(field: FieldDescriptor, base: list[FieldValue], size: int) -> list[FieldValue]:
    """Return lists of one size, at least one of them with distinct items if the field's type allows that."""
    first = base[0]
    lists: list[list[FieldValue]] = []
    if isinstance(first, str):
        ends = [str(number) for number in range(size)]
        lists = [[first[: -len(end)] + end for end in ends], [first + end for end in ends]]
    elif field.enum_type is not None:
        known = [value.number for value in field.enum_type.values if value.number]
        lists = [list(islice(cycle(known or [0]), size))]
    elif isinstance(first, int | float) and not isinstance(first, bool):
        lists = [[first + number for number in range(size)]]
    return [*(each for each in lists if len(each) == size), list(islice(cycle(base), size))]
