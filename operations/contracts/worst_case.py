"""Worst case of a method by its contract: the longest time of a call, and the most attempts that it causes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from contracts.call_graph import CallGraph
from contracts.image import name_of
from contracts.services import MESH_SERVICES, SERVICES

if TYPE_CHECKING:
    from contracts.method import Method


@dataclass(frozen=True, slots=True)
class Step:
    """Calls that a handler makes at the same time. The longest takes at most `deadline_s`."""

    methods: tuple[str, ...]
    deadline_s: float


@dataclass(frozen=True, slots=True)
class Hop:
    """Method in a chain of calls, and the number of attempts of each call of it."""

    method: str
    max_attempts: int


@dataclass(frozen=True, slots=True)
class WorstCase:
    """Longest time of a call, and the most attempts that it causes.

    `time_s` is the sum of `own_work_s` and of all steps. `attempts` is the product along `chain`: the number of times
    that one call reaches the last method of the chain.
    """

    time_s: float
    own_work_s: float
    steps: tuple[Step, ...]
    attempts: int
    chain: tuple[Hop, ...]


def worst_case_of(method: Method) -> WorstCase:
    """Return the worst case of a method, with the deadlines, retries and hedges of the contract."""
    services = (*SERVICES.values(), *MESH_SERVICES)
    graph = CallGraph({name_of(each): each for service in services for each in service.methods})
    name = method.full_name
    attempts, chain = graph.worst_chain(name)
    return WorstCase(
        time_s=graph.worst_case_s(name),
        own_work_s=graph.own_work_s(name),
        steps=tuple(Step(step, max(map(graph.deadline_s, step))) for step in graph.steps_of(name)),
        attempts=attempts,
        chain=tuple(Hop(each, graph.attempts_of(each)) for each in chain),
    )
