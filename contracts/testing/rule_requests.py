"""Requests at the boundary of one rule and beyond it, chosen from the probes of the rule by protovalidate."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import protovalidate

from contracts.testing.rules import BOUNDS
from contracts.violations import BrokenRule, broken_rules

if TYPE_CHECKING:
    from collections.abc import Iterable

    from google.protobuf.message import Message

    from contracts.testing.rules import Probe, Rule

FAILED = BrokenRule("", "", "", "The rules cannot be evaluated.")


@dataclass(frozen=True, slots=True)
class RuleRequests:
    """Requests at the boundary of a rule, and the one that breaks it and the fewest other rules, if there is one."""

    rule: Rule
    boundaries: tuple[Message, ...] = ()
    violation: Message | None = None
    broken: BrokenRule | None = None


def requests_for(rule: Rule, probes: Iterable[Probe]) -> RuleRequests:
    """Return the best requests among the probes of a rule."""
    best, least = RuleRequests(rule), 0
    for probe in probes:
        if least == 1 and (best.boundaries or not probe.accepted):
            break
        rejection = _rejection(rule, probe.rejected)
        if rejection is None:
            continue
        message, broken, count = rejection
        boundaries = best.boundaries or _distinct(each for each in probe.accepted if not breaks(each))
        if not least or count < least or (count == least and boundaries != best.boundaries):
            best, least = RuleRequests(rule, boundaries, message, broken), count
        else:
            best = replace(best, boundaries=boundaries)
    return best


def _rejection(rule: Rule, messages: Iterable[Message]) -> tuple[Message, BrokenRule, int] | None:
    """Return the message that breaks the rule and the fewest other rules, with the number of rules that it breaks."""
    best: tuple[Message, BrokenRule, int] | None = None
    for message in messages:
        rules = breaks(message)
        broken = next((each for each in rules if _is_of(rule, each)), None)
        if broken is not None and (best is None or len(rules) < best[2]):
            best = message, broken, len(rules)
        if best is not None and best[2] == 1:
            break
    return best


def _distinct(messages: Iterable[Message]) -> tuple[Message, ...]:
    return tuple({each.SerializeToString(deterministic=True): each for each in messages}.values())


def breaks(message: Message) -> list[BrokenRule]:
    """Return the rules that a message breaks; also one if they cannot be evaluated, such as after an overflow."""
    try:
        return broken_rules(message)
    except protovalidate.EvaluationError:
        return [FAILED]


def _is_of(rule: Rule, broken: BrokenRule) -> bool:
    if broken.field != rule.field:
        return False
    if rule.is_bound:
        kind, _, name = broken.path.rpartition(".")
        return kind == rule.path.rpartition(".")[0] and name in BOUNDS
    return (broken.path, broken.id) == (rule.path, rule.id)
