"""The call graph: no method waits for itself over others, and none waits for longer than it has (C6)."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from contracts.method import Method


def problems_of_calls(methods: Mapping[str, Method]) -> list[str]:
    """Return one sentence for a cycle, and one for each call that may take longer than the call it serves.

    `methods` are all methods by full name; each call that a policy lists is among them.
    """
    return [*_cycle(methods), *_overlong_calls(methods)]


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
