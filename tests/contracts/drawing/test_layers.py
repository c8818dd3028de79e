from __future__ import annotations

from contracts.drawing.layers import layers


def test_callers_are_left_of_their_callees() -> None:
    """A node is one layer to the right of the last of its callers, also if another caller is further left."""
    assert layers("abc", {("a", "b"): 1, ("b", "c"): 1, ("a", "c"): 1}) == [["a"], ["b"], ["c"]]


def test_the_lightest_edge_of_a_cycle_leads_back() -> None:
    """If two nodes call each other, the one with more calls is on the left, in any order of the nodes."""
    weights = {("many", "few"): 5, ("few", "many"): 1}

    assert layers(["many", "few"], weights) == layers(["few", "many"], weights) == [["many"], ["few"]]


def test_an_edge_from_a_node_to_itself_is_ignored() -> None:
    """A call of a node to itself does not move it."""
    assert layers("ab", {("a", "a"): 9, ("a", "b"): 1}) == [["a"], ["b"]]


def test_nodes_are_beside_their_neighbours() -> None:
    """The nodes of a layer are in the order of their neighbours, so that the edges do not cross."""
    assert layers("abxy", {("a", "y"): 1, ("b", "x"): 1}) in ([["a", "b"], ["y", "x"]], [["b", "a"], ["x", "y"]])


def test_nodes_without_edges_are_in_the_first_layer() -> None:
    """A node without edges is drawn too, and no nodes have no layers."""
    assert layers("a", {}) == [["a"]]
    assert layers("", {}) == []
