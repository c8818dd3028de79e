"""Small call graphs."""

from __future__ import annotations

from contracts.drawing.graph import Graph
from contracts.edges import Edge, EdgeKind

ARROWS = {"->": EdgeKind.CALL, "~>": EdgeKind.LATER, "*>": EdgeKind.EVENT}


def method(short: str) -> str:
    """Return the full name of a method: "shop.v1.ShopService/Buy" for "shop.Buy"."""
    package, _, name = short.partition(".")
    return f"{package}.v1.{package.title()}Service/{name}"


def event(short: str) -> str:
    """Return the full name of an event: "shop.v1.Sold" for "shop.Sold"."""
    return short.replace(".", ".v1.")


def graph(*edges: str, **deadlines_s: float) -> Graph:
    """Return a graph with edges such as "a.Do -> b.Do" (call), "~>" (later call) and "*>" (event delivery).

    Each method has a deadline of 1 s, unless `deadlines_s` has another for its package.
    """
    found = []
    for source, arrow, target in map(str.split, edges):
        kind = ARROWS[arrow]
        found.append(Edge(event(source) if kind is EdgeKind.EVENT else method(source), method(target), kind))
    names = [name for edge in found for name in (edge.caller, edge.callee) if "/" in name]
    return Graph({name: deadlines_s.get(name.partition(".")[0], 1.0) for name in names}, tuple(found))
