from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from contracts.drawing.tree import tree_of
from tests.contracts.drawing.graphs import graph, method

if TYPE_CHECKING:
    from contracts.drawing.graph import Graph
    from contracts.drawing.tree import Node


def budgets(of: Graph, start: str) -> list[tuple[str, float]]:
    """Return the method and the budget of each node below a method, in the order of the tree."""

    def below(node: Node) -> list[tuple[str, float]]:
        return [(node.method, node.budget_s), *(each for _, child in node.children for each in below(child))]

    return below(tree_of(of, method(start)))


def test_a_call_has_at_most_the_time_of_its_caller() -> None:
    """The budget of a call is the shortest deadline on the path to it, for every path."""
    drawn = graph("a.Do -> b.Do", "b.Do -> c.Do", "a.Do -> c.Do", a=3, b=1, c=2)

    assert budgets(drawn, "a.Do") == [
        (method("a.Do"), 3),
        (method("b.Do"), 1),
        (method("c.Do"), 1),
        (method("c.Do"), 2),
    ]


def test_a_later_call_has_its_whole_deadline() -> None:
    """A later call has its own deadline, even if its caller has less time."""
    assert budgets(graph("a.Do ~> b.Do", a=1, b=5), "a.Do")[1] == (method("b.Do"), 5)


@pytest.mark.parametrize("arrow", ["->", "~>"])
def test_a_cycle_ends_at_the_first_repetition(arrow: str) -> None:
    """A cycle of calls or of later calls is shown once, and its repetition is marked."""
    root = tree_of(graph(f"a.Do {arrow} b.Do", f"b.Do {arrow} a.Do", f"b.Do {arrow} b.Do"), method("a.Do"))

    [(_, first)] = root.children
    assert [(child.method, child.is_repeated, child.children) for _, child in first.children] == [
        (method("a.Do"), True, ()),
        (method("b.Do"), True, ()),
    ]


def test_many_paths_through_one_method_are_expanded_once() -> None:
    """A ladder with 2^40 paths gives a small tree: each method is expanded once for each budget."""
    steps = [f"a.Do{n} -> a.{side}{n + 1}" for n in range(0, 80, 2) for side in ("Left", "Right")]
    joins = [f"a.{side}{n + 1} -> a.Do{n + 2}" for n in range(0, 80, 2) for side in ("Left", "Right")]

    assert len(budgets(graph(*steps, *joins), "a.Do0")) < 200


def test_a_method_without_a_deadline_has_no_budget() -> None:
    """A method without a known deadline leaves the budget infinite, which is shown as nothing."""
    node = tree_of(graph("a.Do -> b.Do"), method("c.Do"))

    assert (node.budget_s, node.budget_text()) == (math.inf, "")
