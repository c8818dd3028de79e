"""The call graph: nobody waits for itself, or for longer than it has, and retries do not pile up over hops (C6)."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from contracts.method import Method

# Google's SRE book counts 64 attempts where three hops make four each; three hops of two or three stay below this.
MOST_ATTEMPTS_OF_A_CHAIN = 18


def problems_of_calls(methods: Mapping[str, Method]) -> list[str]:
    """Return one sentence for each problem.

    These are a cycle, a call that may take longer than the call it serves, and a chain of calls over which retries
    multiply to more than MOST_ATTEMPTS_OF_A_CHAIN. `methods` are all methods by full name; each call that a policy
    lists is among them.
    """
    return _cycle(methods) or [*_overlong_calls(methods), *_piled_up_retries(methods)]


def _cycle(methods: Mapping[str, Method]) -> list[str]:
    graph = TopologicalSorter({name: method.policy.calls for name, method in methods.items()})
    try:
        graph.prepare()
    except CycleError as error:
        # Each name is called by the next one.
        path = " calls ".join(reversed(error.args[1]))
        return [f"{path}: a cycle."]
    return []


def _overlong_calls(methods: Mapping[str, Method]) -> list[str]:
    return [
        f"{name} has {method.policy.deadline_s:g} s and calls {call}, which may take {limit_s:g} s."
        for name, method in methods.items()
        for call in method.policy.calls
        if (limit_s := methods[call].policy.deadline_s) > method.policy.deadline_s
    ]


def _piled_up_retries(methods: Mapping[str, Method]) -> list[str]:
    called = {call for method in methods.values() for call in method.policy.calls}
    found = []
    for first in methods.keys() - called:
        attempts, chain = _most_attempts(methods, first)
        if attempts > MOST_ATTEMPTS_OF_A_CHAIN:
            path = " calls ".join(chain)
            found.append(f"{path}: with all retries up to {attempts} attempts, above {MOST_ATTEMPTS_OF_A_CHAIN}.")
    return sorted(found)


def _most_attempts(methods: Mapping[str, Method], name: str) -> tuple[int, list[str]]:
    policy = methods[name].policy
    own = policy.retry.max_attempts if policy.retry else 1
    further = max((_most_attempts(methods, call) for call in policy.calls), default=(1, []))
    return own * further[0], [name, *further[1]]
