"""`solo60 graph`: the calls between services as a tree, as SVG and as Mermaid."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.call_trees import LEGEND, mesh_trees, method_tree, package_tree
from cli.terminal import CommandError, JsonFlag, MethodOrService, out, print_json
from contracts.drawing.mermaid import mermaid_of
from contracts.drawing.svg import svg_of
from contracts.drawing.tree import tree_of
from contracts.drawing.views import mesh_picture, method_picture, package_picture
from contracts.names import package_of
from contracts.services import SERVICE_NAMES, SERVICES
from operations.contracts.connections import graph_of_services
from operations.contracts.method_names import UnknownMethod, find_by_name

if TYPE_CHECKING:
    from contracts.drawing.graph import Graph
    from contracts.drawing.picture import Picture
    from contracts.drawing.tree import Node
    from contracts.edges import EdgeKind


def graph(
    name: MethodOrService = None,
    svg: Annotated[
        str | None, typer.Option("--svg", metavar="FILE", help="Write an SVG file; - is standard output.")
    ] = None,
    mermaid: Annotated[
        str | None, typer.Option("--mermaid", metavar="FILE", help="Write a Mermaid file; - is standard output.")
    ] = None,
    *,
    as_json: JsonFlag = False,
) -> None:
    """Draw the calls, later calls and events between services, with the deadline of each called method.

    With a service, draws its callers and callees, method by method. With a method, draws everything that it reaches.
    """
    package, method = _find(name)
    drawn = graph_of_services()
    if svg is not None or mermaid is not None:
        picture = _picture(drawn, package, method)
        for path, text_of in ((svg, svg_of), (mermaid, mermaid_of)):
            if path is not None:
                _write(path, text_of(picture))
    elif as_json:
        print_json(_as_json(drawn, package, method))
    else:
        _print(drawn, package, method)


def _find(name: str | None) -> tuple[str, str]:
    """Return the package and the method of a name, each empty if the name is not one of them."""
    if name is None:
        return "", ""
    if name in SERVICES:
        return SERVICES[name].file.package, ""
    try:
        return "", find_by_name(name).full_name
    except UnknownMethod as error:
        if "." in name or "/" in name:
            raise
        raise CommandError(f"{error} Services: {', '.join(SERVICE_NAMES)}.") from None


def _picture(graph: Graph, package: str, method: str) -> Picture:
    if method:
        return method_picture(graph, method)
    return package_picture(graph, package) if package else mesh_picture(graph)


def _write(path: str, text: str) -> None:
    if path == "-":
        sys.stdout.write(text)
    else:
        Path(path).write_text(text, encoding="utf-8")


def _print(graph: Graph, package: str, method: str) -> None:
    trees = [method_tree(tree_of(graph, method))] if method else []
    trees = trees or ([package_tree(graph, package)] if package else list(mesh_trees(graph)))
    for tree in trees:
        out.print(tree, soft_wrap=False)
    out.print(LEGEND, style="dim", markup=False)


def _as_json(graph: Graph, package: str, method: str) -> object:
    if method:
        return _tree_as_json(tree_of(graph, method))
    return [
        {
            "caller": edge.caller,
            "callee": edge.callee,
            "kind": edge.kind,
            "deadline_s": _finite(graph.deadlines_s.get(edge.callee, math.inf)),
        }
        for edge in graph.edges
        if not package or package in (package_of(edge.caller), package_of(edge.callee))
    ]


def _finite(duration_s: float) -> float | None:
    return duration_s if math.isfinite(duration_s) else None


def _tree_as_json(node: Node, kind: EdgeKind | None = None) -> dict[str, Any]:
    return {
        "method": node.method,
        "kind": kind,
        "deadline_s": _finite(node.budget_s),
        "is_repeated": node.is_repeated,
        "callees": [_tree_as_json(child, kind) for kind, child in node.children],
    }
