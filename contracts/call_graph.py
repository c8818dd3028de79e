"""Checks of the call graph: no cycles, no callee slower than its caller, no multiplied retries."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from contracts.method import Method

# Google's SRE book warns of 64 attempts, from three hops with four attempts each. The limit of 18 allows hops of two,
# three and three attempts.
MAX_CHAIN_ATTEMPTS = 18


def problems_of_calls(methods: Mapping[str, Method]) -> list[str]:
    """Return one sentence for each problem.

    A problem is a cycle, a callee with a longer deadline than its caller, or a chain of calls with more than
    MAX_CHAIN_ATTEMPTS attempts in total. If there is a cycle, only the cycle is reported. `methods` maps full
    names to methods, and contains every call that a policy lists.
    """
    return _cycle(methods) or [*_calls_beyond_deadline(methods), *_multiplied_retries(methods)]


def _cycle(methods: Mapping[str, Method]) -> list[str]:
    graph = TopologicalSorter({name: method.policy.calls for name, method in methods.items()})
    try:
        graph.prepare()
    except CycleError as error:
        # The error lists each callee before its caller.
        path = " calls ".join(reversed(error.args[1]))
        return [f"{path}: calls must not form a cycle."]
    return []


def _calls_beyond_deadline(methods: Mapping[str, Method]) -> list[str]:
    return [
        f"{name} has a deadline of {method.policy.deadline_s:g} s, but its callee {call} has {limit_s:g} s."
        for name, method in methods.items()
        for call in method.policy.calls
        if (limit_s := methods[call].policy.deadline_s) > method.policy.deadline_s
    ]


def _multiplied_retries(methods: Mapping[str, Method]) -> list[str]:
    called = {call for method in methods.values() for call in method.policy.calls}
    found = []
    for first in methods.keys() - called:
        attempts, chain = _max_attempts(methods, first)
        if attempts > MAX_CHAIN_ATTEMPTS:
            path = " calls ".join(chain)
            found.append(f"{path}: retries multiply to {attempts} attempts, above {MAX_CHAIN_ATTEMPTS}.")
    return sorted(found)


def _max_attempts(methods: Mapping[str, Method], name: str) -> tuple[int, list[str]]:
    policy = methods[name].policy
    own = policy.retry.max_attempts if policy.retry else 1
    further = max((_max_attempts(methods, call) for call in policy.calls), default=(1, []))
    return own * further[0], [name, *further[1]]
