"""Views of a call graph: the packages of a mesh, the neighbours of one package, and everything below one method."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from contracts.drawing.graph import stays_inside
from contracts.drawing.layers import layers
from contracts.drawing.picture import Box, Line, Picture, Port, Row
from contracts.drawing.tree import tree_of
from contracts.edges import EdgeKind
from contracts.names import own_name, package_of, short_name, short_package

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from contracts.drawing.graph import Graph
    from contracts.drawing.tree import Node
    from contracts.edges import Edge

VERBS = {EdgeKind.CALL: "calls", EdgeKind.LATER: "calls later", EdgeKind.EVENT: "is delivered to"}
SHORT_VERBS = {EdgeKind.CALL: "calls", EdgeKind.LATER: "later", EdgeKind.EVENT: "event to"}


def mesh_picture(graph: Graph) -> Picture:
    """Return a picture with a box for each package, which lists the methods that other packages call.

    One line stands for all callers of a method in one package. A package's calls to itself are only counted.
    """
    between = [edge for edge in graph.edges if not stays_inside(edge)]
    colours = _colours(graph)
    weights = Counter((package_of(e.caller), package_of(e.callee)) for e in between if e.kind is not EdgeKind.EVENT)
    columns = layers(graph.packages(), weights)
    boxes = {package: _mesh_box(graph, package, between, colours[package]) for package in colours}
    return Picture(
        "Calls between services",
        tuple(tuple(boxes[package] for package in column) for column in columns),
        tuple(_mesh_lines(graph, between, colours)),
        "A box lists the methods that other services call, with their deadlines. A line has the colour of its caller.",
    )


def _mesh_box(graph: Graph, package: str, between: Sequence[Edge], colour: int) -> Box:
    called = {edge.callee for edge in between}
    own = [name for name in graph.deadlines_s if package_of(name) == package]
    listed = [name for name in dict.fromkeys((*own, *sorted(called))) if name in called and package_of(name) == package]
    events = dict.fromkeys(e.caller for e in between if e.kind is EdgeKind.EVENT and package_of(e.caller) == package)
    inside = Counter(e.kind for e in graph.edges if stays_inside(e) and package_of(e.caller) == package)
    uncalled = len(set(own) - called)
    counts = {"more methods": uncalled, "own calls": inside[EdgeKind.CALL], "own later calls": inside[EdgeKind.LATER]}
    note = ", ".join(f"{name}: {count}" for name, count in counts.items() if count)
    rows = [*(_row(graph, name) for name in listed), *(Row(name, own_name(name), "event") for name in events)]
    return Box(package, short_package(package), colour, rows=tuple(rows), note=note)


def _mesh_lines(graph: Graph, between: Iterable[Edge], colours: dict[str, int]) -> Iterator[Line]:
    together: dict[tuple[Port, str, EdgeKind], list[Edge]] = defaultdict(list)
    for edge in between:
        source = Port(package_of(edge.caller), edge.caller if edge.kind is EdgeKind.EVENT else "")
        together[source, edge.callee, edge.kind].append(edge)
    for (source, callee, kind), edges in together.items():
        callers = ", ".join(own_name(edge.caller) for edge in edges)
        yield Line(
            source,
            Port(package_of(callee), callee),
            kind,
            colours[source.box],
            graph.deadline_text(callee),
            _text(graph, f"{short_package(source.box)}: {callers}", callee, kind),
        )


def package_picture(graph: Graph, package: str) -> Picture:
    """Return a picture with the callers of a package on the left and its callees on the right, method by method.

    The package's calls to itself are notes of the calling method.
    """
    colours = _colours(graph)
    incoming = [e for e in graph.edges if package_of(e.callee) == package and not stays_inside(e)]
    outgoing = [e for e in graph.edges if package_of(e.caller) == package and not stays_inside(e)]
    inside = [e for e in graph.edges if package_of(e.caller) == package and stays_inside(e)]
    middle = _package_box(graph, package, inside, [*incoming, *outgoing, *inside])
    lines = [
        *(_line(graph, e, f"< {package_of(e.caller)}", package, colours[package_of(e.caller)]) for e in incoming),
        *(_line(graph, e, package, f"> {package_of(e.callee)}", colours[package_of(e.callee)]) for e in outgoing),
    ]
    callers = _side("<", [e.caller for e in incoming], graph, colours)
    callees = _side(">", [e.callee for e in outgoing], graph, colours)
    columns = tuple(column for column in (callers, (middle,), callees) if column)
    return Picture(
        f"Calls of {short_package(package)}",
        columns,
        tuple(lines),
        "A time is a method's deadline. A line has the colour of the other service.",
    )


def _package_box(graph: Graph, package: str, inside: Iterable[Edge], edges: Iterable[Edge]) -> Box:
    """Return the box of a package, with a row for each of its methods and events in `edges`."""
    used = {name for edge in edges for name in (edge.caller, edge.callee)}
    own = [name for name in dict.fromkeys((*graph.deadlines_s, *sorted(used))) if package_of(name) == package]
    rows = tuple(_row(graph, name, _inside_note(name, inside)) for name in own if name in used)
    unused = len(own) - len(rows)
    note = f"more methods: {unused}" if unused else ""
    return Box(package, short_package(package), _colours(graph)[package], rows=rows, note=note)


def _side(side: str, names: Iterable[str], graph: Graph, colours: dict[str, int]) -> tuple[Box, ...]:
    """Return a box for each package of `names`, with a row for each name."""
    rows: dict[str, dict[str, Row]] = defaultdict(dict)
    for name in names:
        rows[package_of(name)][name] = _row(graph, name)
    return tuple(
        Box(f"{side} {package}", short_package(package), colours[package], rows=tuple(listed.values()))
        for package, listed in rows.items()
    )


def _inside_note(name: str, inside: Iterable[Edge]) -> str:
    """Return the calls of a method to its own package: "later: SendSessionMail, ExpireOffer"."""
    callees: dict[EdgeKind, list[str]] = defaultdict(list)
    for edge in inside:
        if edge.caller == name:
            callees[edge.kind].append(own_name(edge.callee))
    return "; ".join(f"{SHORT_VERBS[kind]}: {', '.join(names)}" for kind, names in callees.items())


def _line(graph: Graph, edge: Edge, source: str, target: str, colour: int) -> Line:
    text = _text(graph, short_name(edge.caller), edge.callee, edge.kind)
    deadline = graph.deadline_text(edge.callee)
    return Line(Port(source, edge.caller), Port(target, edge.callee), edge.kind, colour, deadline, text)


def method_picture(graph: Graph, method: str) -> Picture:
    """Return a picture of the tree below a method, with a box for each call, and a column for each step."""
    colours = _colours(graph)
    columns: list[list[Box]] = []
    lines: list[Line] = []

    def add(node: Node, depth: int) -> Port:
        if depth == len(columns):
            columns.append([])
        port = Port(f"{depth} {len(columns[depth])} {node.method}")
        note = "its callees are shown elsewhere" if node.is_repeated else ""
        colour = colours[package_of(node.method)]
        columns[depth].append(Box(port.box, short_name(node.method), colour, node.budget_text(), note=note))
        for kind, child in node.children:
            text = _text(graph, short_name(node.method), child.method, kind)
            at = add(child, depth + 1)
            lines.append(Line(port, at, kind, colours[package_of(child.method)], child.budget_text(), text))
        return port

    add(tree_of(graph, method), 0)
    note = "A time is the shortest deadline on the path of calls. A later call begins a new path."
    return Picture(f"Calls below {short_name(method)}", tuple(map(tuple, columns)), tuple(lines), note)


def _row(graph: Graph, name: str, note: str = "") -> Row:
    return Row(name, own_name(name), graph.deadline_text(name) if "/" in name else "event", note)


def _colours(graph: Graph) -> dict[str, int]:
    return {package: index for index, package in enumerate(graph.packages())}


def _text(graph: Graph, caller: str, callee: str, kind: EdgeKind) -> str:
    deadline = graph.deadline_text(callee)
    return f"{caller} {VERBS[kind]} {short_name(callee)}{f' within {deadline}' if deadline else ''}"
