"""Table of all edges, with sorting and filters in the page's address."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nicegui import ui

from console import widgets
from console.filter_form import FilterField, FilterForm, choice
from console.pages.map.addresses import edge_key, map_address
from console.pages.map.looks import tone_of
from contracts.names import short_name
from contracts.services import SERVICE_NAMES
from operations.metrics.texts import duration_ms_text, kinds_text, rate_text, share_text
from operations.metrics.traffic import SEVERITY, UNDECLARED

if TYPE_CHECKING:
    from collections.abc import Callable

    from console.frame import View
    from console.pages.map.live import LiveTexts
    from operations.metrics.traffic import Traffic, TrafficEdge

# Values of the parameter `show`, with their words.
ALL, BUSY, BAD = "", "busy", "bad"
SHOW = {ALL: "all edges", BUSY: "edges with calls", BAD: "edges with problems"}


@dataclass(frozen=True, slots=True)
class _Column:
    """Column of the table: its text, and its key for sorting. Numbers are sorted from the highest."""

    name: str
    text: Callable[[TrafficEdge], str]
    key: Callable[[TrafficEdge], object] | None = None
    is_number: bool = False


def _number(name: str, text: Callable[[TrafficEdge], str], key: Callable[[TrafficEdge], float | None]) -> _Column:
    return _Column(name, text, lambda edge: -(key(edge) or 0.0), is_number=True)


COLUMNS = (
    _Column("caller", lambda edge: edge.caller),
    _Column("method", lambda edge: short_name(edge.method)),
    _Column("kind", lambda edge: kinds_text(edge.kinds)),
    _number("calls", lambda edge: rate_text(edge.rates.calls_per_s), lambda edge: edge.rates.calls_per_s),
    _number("errors", lambda edge: share_text(edge.rates.error_share), lambda edge: edge.rates.error_share),
    _number("p50", lambda edge: duration_ms_text(edge.rates.p50_ms), lambda edge: edge.rates.p50_ms),
    _number("p99", lambda edge: duration_ms_text(edge.rates.p99_ms), lambda edge: edge.rates.p99_ms),
    _number("in flight", lambda edge: f"{edge.in_flight:g}" if edge.in_flight else "", lambda edge: edge.in_flight),
    _Column("breaker", lambda edge: edge.breaker, lambda edge: -SEVERITY.index(edge.breaker)),
    _Column("note", lambda edge: edge.problem),
)


class EdgeTable:
    """Table of the edges that the filters in the page's address choose. New edges are added at its end."""

    def __init__(self, view: View, live: LiveTexts) -> None:
        self._view = view
        self._live = live
        self._shown: set[tuple[str, str]] = set()
        self._draw_filters()
        with ui.element("div").classes("scroll"), ui.element("table").classes("rows").props('aria-label="Edges"'):
            self._draw_headings()
            self._body = ui.element("tbody")
        self._empty = ui.element("div")
        self.show(live.traffic)

    def show(self, traffic: Traffic) -> None:
        """Add a row for each new edge."""
        column = next((each for each in COLUMNS if each.name == self._view.query("sort")), COLUMNS[0])
        edges = [edge for edge in traffic.edges_of(self._view.query("of")) if self._is_wanted(edge)]
        edges.sort(key=column.key or column.text)  # type: ignore[arg-type]  # texts or numbers
        with self._body:
            for edge in edges:
                if (edge.caller, edge.method) not in self._shown:
                    self._shown.add((edge.caller, edge.method))
                    self._draw_row(edge)
        self._empty.clear()
        if not self._shown:
            with self._empty:
                widgets.empty_state("No edge matches the filters.", "Choose all edges, or run: solo60 demo booking")

    def _is_wanted(self, edge: TrafficEdge) -> bool:
        show = self._view.query("show")
        is_bad = tone_of(edge) in ("bad", "warn", "unknown") or UNDECLARED in edge.kinds
        return show not in (BUSY, BAD) or (edge.is_busy if show == BUSY else is_bad)

    def _draw_filters(self) -> None:
        FilterForm(
            map_address(),
            [
                choice("of", "Service", self._view.query("of"), SERVICE_NAMES),
                FilterField("show", "Edges", self._view.query("show"), options=list(SHOW.items()), size="wide"),
            ],
            kept={name: self._view.query(name) for name in ("view", "sort")},
        )

    def _draw_headings(self) -> None:
        keep = {name: self._view.query(name) for name in ("of", "show")}
        sort = self._view.query("sort", COLUMNS[0].name)
        with ui.element("thead"), ui.element("tr"):
            for column in COLUMNS:
                heading = ui.element("th").props("scope=col").classes("number" if column.is_number else "")
                if column.name == sort:
                    heading.props(f"aria-sort={'descending' if column.is_number else 'ascending'}")
                mark = (" ↓" if column.is_number else " ↑") if column.name == sort else ""
                with heading:
                    ui.link(f"{column.name}{mark}", map_address(view="table", sort=column.name, **keep))

    def _draw_row(self, edge: TrafficEdge) -> None:
        pair = edge.caller, edge.method

        def read(column: _Column) -> Callable[[Traffic], str]:
            def text(traffic: Traffic) -> str:
                found = traffic.edge(*pair)
                return column.text(found) if found else ""

            return text

        def tone(traffic: Traffic) -> str:
            found = traffic.edge(*pair)
            return "" if found is None else "undeclared" if UNDECLARED in found.kinds else tone_of(found)

        with ui.element("tr"):
            self._live.add(read(COLUMNS[0]), "td", tone)
            with ui.element("td"):
                ui.link(short_name(edge.method), map_address(view="table", edge=edge_key(*pair)))
            for column in COLUMNS[2:]:
                cell = self._live.add(read(column), "td", tone if column.name in ("errors", "breaker") else None)
                if column.is_number:
                    cell.classes("number")
