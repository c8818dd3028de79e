"""Trees of calls, for the terminal."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from rich.text import Text
from rich.tree import Tree

from contracts.drawing.graph import stays_inside
from contracts.edges import EdgeKind
from contracts.names import own_name, package_of, short_name, short_package

if TYPE_CHECKING:
    from collections.abc import Iterator

    from contracts.drawing.graph import Graph
    from contracts.drawing.tree import Node

TO = {EdgeKind.CALL: "──▶", EdgeKind.LATER: "╌╌▶", EdgeKind.EVENT: "┈┈▶"}
FROM = {EdgeKind.CALL: "◀──", EdgeKind.LATER: "◀╌╌", EdgeKind.EVENT: "◀┈┈"}
LEGEND = "──▶ call   ╌╌▶ later call   ┈┈▶ event   Times are deadlines."


def mesh_trees(graph: Graph) -> Iterator[Tree]:
    """Yield a tree for each service that calls others or publishes events, with one line per method that it calls."""
    callers: dict[str, dict[tuple[str, EdgeKind], list[str]]] = defaultdict(lambda: defaultdict(list))
    for edge in graph.edges:
        if not stays_inside(edge):
            callers[package_of(edge.caller)][edge.callee, edge.kind].append(own_name(edge.caller))
    for package in graph.packages():
        tree = Tree(Text(short_package(package), style="bold"))
        width = max((len(short_name(callee)) for callee, _ in callers[package]), default=0)
        for (callee, kind), names in callers[package].items():
            source = names[0] if len(names) == 1 else f"{len(names)} methods"
            tree.add(Text.assemble(_end(graph, TO[kind], callee, width), (f"  from {source}", "dim")))
        if tree.children:
            yield tree


def package_tree(graph: Graph, package: str) -> Tree:
    """Return a tree with the callers and callees of each method and event of a package.

    A call of the package to itself is only shown below its caller.
    """
    tree = Tree(Text(short_package(package), style="bold"))
    for name in dict.fromkeys((*graph.deadlines_s, *(edge.caller for edge in graph.edges))):
        if package_of(name) != package:
            continue
        ends = [
            *(Text(f"{FROM[e.kind]} {short_name(e.caller)}") for e in graph.callers_of(name) if not stays_inside(e)),
            *(_end(graph, TO[e.kind], e.callee) for e in graph.callees_of(name)),
        ]
        if ends:
            deadline = graph.deadline_text(name) if "/" in name else "event"
            branch = tree.add(Text.assemble(own_name(name), (f"  {deadline}", "dim")))
            for end in ends:
                branch.add(end)
    return tree


def method_tree(node: Node) -> Tree:
    """Return the tree of everything that a method reaches, with the deadline on each path."""
    tree = Tree(_node_text("", node))
    _add_children(tree, node)
    return tree


def _add_children(tree: Tree, node: Node) -> None:
    for kind, child in node.children:
        _add_children(tree.add(_node_text(f"{TO[kind]} ", child)), child)


def _node_text(arrow: str, node: Node) -> Text:
    note = "  (see above)" if node.is_repeated else ""
    return Text.assemble(arrow, short_name(node.method), (f"  {node.budget_text()}{note}", "dim"))


def _end(graph: Graph, arrow: str, callee: str, width: int = 0) -> Text:
    return Text.assemble(f"{arrow} {short_name(callee):<{width}}", (f"  {graph.deadline_text(callee):<6}", "dim"))
