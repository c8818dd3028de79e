"""Plan of the map: the picture of the call graph with a place for the numbers of each edge."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from contracts.drawing.graph import Graph
from contracts.drawing.layout import Layout
from contracts.drawing.picture import Line, Picture, Port, Row
from contracts.drawing.views import mesh_picture
from contracts.edges import Edge, EdgeKind
from contracts.names import short_package
from contracts.services import SERVICES
from operations.contracts.connections import graph_of_services

if TYPE_CHECKING:
    from collections.abc import Sequence

    from contracts.drawing.picture import Box

# Space between two columns for the numbers of edges in both directions.
GUTTER = 180
# Longest text below the methods of a box.
TOTALS = "1,234/s  100 %  999 ms"


@dataclass(frozen=True, slots=True)
class MapLine:
    """Line between two services. `pair` is the caller's name and the full name of the method."""

    key: str
    line: Line
    path: str
    pair: tuple[str, str]
    is_undeclared: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """Places of all boxes, and the paths of all lines."""

    layout: Layout
    lines: tuple[MapLine, ...]


@lru_cache(maxsize=8)
def plan_of(undeclared: tuple[tuple[str, str], ...]) -> Plan:
    """Return the plan of the contracts' calls between services, and of further pairs of a caller and a method.

    All viewers share a plan, because its layout takes tens of milliseconds.
    """
    graph = graph_of_services()
    extra = [Edge(f"{SERVICES[caller].full_name}/?", method, EdgeKind.CALL) for caller, method in undeclared]
    picture = _with_callers(mesh_picture(Graph(graph.deadlines_s, (*graph.edges, *extra))))
    layout = Layout(picture, GUTTER)
    lines = [
        MapLine(f"e{number}", line, path, pair, pair in undeclared)
        for number, (line, path) in enumerate(layout.paths)
        for pair in ((short_package(line.source.box), _method_of(line)),)
    ]
    return Plan(layout, tuple(lines))


def _with_callers(picture: Picture) -> Picture:
    """Return a picture with a row for each caller of a method, so that no two lines share their numbers' place.

    Methods with one caller need no further row. Deadlines are left out for the width of the page.
    """
    shared = [line.target for line in picture.lines]
    lines = tuple(
        replace(line, target=_caller_port(line)) if shared.count(line.target) > 1 else line for line in picture.lines
    )
    columns = tuple(tuple(_box(box, lines) for box in column) for column in picture.columns)
    return replace(picture, columns=columns, lines=lines)


def _caller_port(line: Line) -> Port:
    return Port(line.target.box, f"{line.target.row} {line.source.box} {line.kind}")


def _method_of(line: Line) -> str:
    return line.target.row.partition(" ")[0]


def _box(box: Box, lines: Sequence[Line]) -> Box:
    rows: list[Row] = []
    for row in box.rows:
        rows.append(replace(row, value="" if "/" in row.key else row.value))
        rows += [
            Row(line.target.row, f"  from {short_package(line.source.box)}")
            for line in lines
            if line.target.box == box.key and line.target.row.startswith(f"{row.key} ")
        ]
    return replace(box, rows=tuple(rows), note=TOTALS)
