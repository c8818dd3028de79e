"""Layers of a directed graph: nodes in columns, so that most edges lead from left to right and few of them cross."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

SWEEPS = 8


def layers(nodes: Sequence[str], weights: Mapping[tuple[str, str], int]) -> list[list[str]]:
    """Return the nodes in layers. `weights` maps (source, target) to the number of edges.

    Cycles are allowed: the lightest edges of a cycle lead back to the left.
    """
    order = _order(nodes, weights)
    place = {node: index for index, node in enumerate(order)}
    layer = dict.fromkeys(nodes, 0)
    for node in order:
        before = (layer[source] + 1 for source, target in weights if target == node and place[source] < place[node])
        layer[node] = max(before, default=0)
    columns = [[node for node in nodes if layer[node] == index] for index in range(max(layer.values(), default=-1) + 1)]
    return _with_few_crossings(columns, weights)


def _order(nodes: Sequence[str], weights: Mapping[tuple[str, str], int]) -> list[str]:
    """Return the nodes, callers first, by the heuristic of Eades, Lin and Smyth (1993)."""
    left: list[str] = []
    right: list[str] = []
    open_nodes = list(nodes)
    while open_nodes:
        outward, inward = _degrees(open_nodes, weights)
        sink = next((node for node in open_nodes if not outward(node)), None)
        if sink is not None:
            right.insert(0, sink)
            open_nodes.remove(sink)
            continue
        first = max(open_nodes, key=lambda node: (not inward(node), outward(node) - inward(node)))
        left.append(first)
        open_nodes.remove(first)
    return left + right


def _degrees(
    nodes: Sequence[str], weights: Mapping[tuple[str, str], int]
) -> tuple[Callable[[str], int], Callable[[str], int]]:
    """Return functions for the weight of all edges from a node, and to a node, among `nodes`."""
    among = {ends: weight for ends, weight in weights.items() if set(ends) <= set(nodes) and ends[0] != ends[1]}
    outward = {node: sum(weight for (source, _), weight in among.items() if source == node) for node in nodes}
    inward = {node: sum(weight for (_, target), weight in among.items() if target == node) for node in nodes}
    return outward.__getitem__, inward.__getitem__


def _with_few_crossings(columns: list[list[str]], weights: Mapping[tuple[str, str], int]) -> list[list[str]]:
    """Return the columns with each node near the mean height of its neighbours."""
    for _ in range(SWEEPS):
        for index, column in enumerate(columns):
            height = {node: (at + 0.5) / len(each) for each in columns for at, node in enumerate(each)}
            columns[index] = sorted(column, key=lambda node: _mean_height(node, height, weights))
    return columns


def _mean_height(node: str, height: Mapping[str, float], weights: Mapping[tuple[str, str], int]) -> float:
    total = weight_sum = 0.0
    for ends, weight in weights.items():
        if node in ends and ends[0] != ends[1]:
            other = ends[1] if ends[0] == node else ends[0]
            total, weight_sum = total + weight * height[other], weight_sum + weight
    return total / weight_sum if weight_sum else height[node]
