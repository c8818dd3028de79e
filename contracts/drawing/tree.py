"""Tree of all methods that one method reaches, with the time that is left for each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from contracts.durations import duration_text
from contracts.edges import EdgeKind

if TYPE_CHECKING:
    from contracts.drawing.graph import Graph


@dataclass(frozen=True, slots=True)
class Node:
    """Method at the end of one path.

    `budget_s` is its deadline, or that of a caller on the path if it is shorter. A later call has a budget of its own.
    If `is_repeated`, the children are those of another node with the same method and budget, and are omitted here.
    """

    method: str
    budget_s: float
    children: tuple[tuple[EdgeKind, Node], ...] = ()
    is_repeated: bool = False

    def budget_text(self) -> str:
        """Return the budget, such as "500 ms"; an empty text if it is infinite."""
        return duration_text(self.budget_s)


def tree_of(graph: Graph, method: str) -> Node:
    """Return the tree of calls and later calls below a method. Cycles end at the first repetition."""
    return _node(graph, method, math.inf, set())


def _node(graph: Graph, method: str, left_s: float, expanded: set[tuple[str, float]]) -> Node:
    budget_s = min(left_s, graph.deadlines_s.get(method, math.inf))
    callees = graph.callees_of(method)
    if callees and (method, budget_s) in expanded:
        return Node(method, budget_s, is_repeated=True)
    expanded.add((method, budget_s))
    children = tuple(
        (edge.kind, _node(graph, edge.callee, budget_s if edge.kind is EdgeKind.CALL else math.inf, expanded))
        for edge in callees
    )
    return Node(method, budget_s, children)
