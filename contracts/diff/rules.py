"""Differences between the protovalidate rules of two declarations."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from contracts.diff.limits import ABSENT_RANK, Limit, Order, Path, limits_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from google.protobuf.message import Message


class Verdict(StrEnum):
    """Effect of a changed rule on the accepted values: fewer, more, or not comparable."""

    TIGHTENED = "TIGHTENED"
    LOOSENED = "LOOSENED"
    CHANGED = "CHANGED"


@dataclass(frozen=True, slots=True)
class RuleDifference:
    """Difference of one rule. `key` is the part of the option that it limits, such as "repeated.max_items"."""

    verdict: Verdict
    key: str
    text: str
    path: Path


def rule_differences(old: Message, new: Message) -> Iterator[RuleDifference]:
    """Yield the differences between two options of protovalidate, such as FieldRules."""
    before, now = limits_of(old), limits_of(new)
    for key in before | now:
        if key.rpartition(".")[2] == "ignore" and not (_has_others(before, key) and _has_others(now, key)):
            continue
        first, second = before.get(key), now.get(key)
        text = f"{first.text if first else 'no rule'} before, {second.text if second else 'no rule'} now."
        if first and second and first.text == second.text:
            text = f"{second.text}: another expression now."
        path = (second or first).path  # type: ignore[union-attr]  # one of them has the key
        for verdict in _verdicts(first, second):
            yield RuleDifference(verdict, key, text, path)


def _has_others(limits: Mapping[str, Limit], key: str) -> bool:
    """Return whether there are rules that the rule `ignore` with this key affects."""
    scope = key.removesuffix("ignore")
    return any(each.startswith(scope) and each != key for each in limits)


def _verdicts(old: Limit | None, new: Limit | None) -> Iterator[Verdict]:
    if old is None or new is None:
        yield from _presence_verdicts(old, new)
    elif old.value == new.value and old.order is new.order:
        return
    elif Order.OPAQUE in (old.order, new.order):
        yield Verdict.CHANGED
    elif old.order is Order.EXACT:
        yield from (Verdict.TIGHTENED, Verdict.LOOSENED)
    elif old.order in (Order.BOUND, Order.RANK):
        yield Verdict.TIGHTENED if new.value > old.value else Verdict.LOOSENED
    else:
        added, removed = new.value - old.value, old.value - new.value
        allows = old.order is Order.ONE_OF
        if removed if allows else added:
            yield Verdict.TIGHTENED
        if added if allows else removed:
            yield Verdict.LOOSENED


def _presence_verdicts(old: Limit | None, new: Limit | None) -> Iterator[Verdict]:
    """Yield the verdict on a rule that only one side has."""
    limit, is_new = (old, False) if new is None else (new, True)
    if limit is None:
        return
    if limit.order is Order.RANK:
        if limit.value == ABSENT_RANK:
            return
        is_new = is_new == (limit.value > ABSENT_RANK)
    yield Verdict.TIGHTENED if is_new else Verdict.LOOSENED
