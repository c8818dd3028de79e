"""Panel about the chosen part of the map: an edge, a method or a service."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from nicegui import ui

from console import widgets
from console.pages.contracts.addresses import address_of_method
from console.pages.map.addresses import edge_key, map_address
from console.pages.map.live import live_facts, live_row
from contracts.drawing.tree import tree_of
from contracts.edges import EdgeKind
from contracts.method import methods_of
from contracts.names import short_name
from contracts.services import SERVICE_NAMES, SERVICES
from mesh.failure import Failure
from operations.addresses import page_address
from operations.contracts.connections import HTTP_ENDPOINT, callers_of, graph_of_services
from operations.contracts.explanation import explain
from operations.contracts.method_names import find_by_name
from operations.metrics.tally import Rates
from operations.metrics.texts import kinds_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from console.frame import View
    from console.pages.map.live import LiveTexts
    from contracts.drawing.graph import Graph
    from contracts.drawing.tree import Node
    from contracts.method import Method
    from operations.contracts.explanation import Fact
    from operations.metrics.traffic import Traffic, TrafficEdge

# Values of a policy that the panel shows; `solo60 explain` and the page of the contract show all.
SUMMARY = (
    "deadline",
    "scopes",
    "idempotency_level",
    "idempotency",
    "retry.max_attempts",
    "retry.codes",
    "hedge.delay",
    "criticality",
    "rate_limit",
    "rate_limit.calls_per_second",
    "errors",
    "deprecation.sunset",
)
ARROWS = {EdgeKind.CALL: "→", EdgeKind.LATER: "⇢", EdgeKind.EVENT: "⇢"}


class UnknownPart(Failure):
    """The address of the map names a part that does not exist; the message names the part and the remedy."""


def draw_panel(view: View, live: LiveTexts, keep: Mapping[str, str]) -> None:
    """Draw the panel about the part in the page's address. `keep` are the parameters of the map without a panel."""
    with ui.element("aside").classes("card map-panel").props('aria-label="Details"'):
        try:
            if view.query("edge"):
                _edge(view, live, keep)
            elif view.query("method"):
                _method(view, live, keep)
            else:
                _service(view, live, keep)
        except Failure as error:
            _head("Not found", keep)
            widgets.error_state(str(error), "Choose a part of the map, or close this panel.")


def _head(title: str, keep: Mapping[str, str]) -> None:
    with ui.element("div").classes("panel-head"):
        widgets.heading(title)
        ui.link("Close", map_address(**keep))


def _edge(view: View, live: LiveTexts, keep: Mapping[str, str]) -> None:
    caller, _, name = view.query("edge").partition(":")
    method = find_by_name(name)
    found = live.traffic.edge(caller, method.full_name)
    if found is None:
        raise UnknownPart(f'"{caller}" neither calls {method.short_name} now, nor declares that it does.')
    _head(f"{caller} → {method.short_name}", keep)
    tone = "bad" if "undeclared" in found.kinds else ""
    widgets.badge(kinds_text(found.kinds), tone)
    live_facts(live, partial(_rates_of_edge, caller, method), _state_of_edge(caller, method))
    with ui.element("div").classes("links"):
        if caller in SERVICE_NAMES:
            ui.link(caller, map_address(**keep, service=caller))
        ui.link(method.short_name, map_address(**keep, method=method.short_name))
        _links(method)
    _policy(view, method)


def _rates_of_edge(caller: str, method: Method, traffic: Traffic) -> Rates:
    found = traffic.edge(caller, method.full_name)
    return found.rates if found else Rates()


def _state_of_edge(caller: str, method: Method) -> dict[str, Callable[[Traffic], str]]:
    def of(read: Callable[[TrafficEdge], str]) -> Callable[[Traffic], str]:
        def value(traffic: Traffic) -> str:
            found = traffic.edge(caller, method.full_name)
            return read(found) if found else ""

        return value

    return {
        "in flight": of(lambda edge: f"{edge.in_flight:g}"),
        "breaker": of(lambda edge: edge.breaker or "none"),
        "measured by": of(lambda edge: f"the {edge.measured_by}" if edge.measured_by else "no service"),
        "problem": of(lambda edge: edge.problem or "none"),
    }


def _method(view: View, live: LiveTexts, keep: Mapping[str, str]) -> None:
    method = find_by_name(view.query("method"))
    graph = graph_of_services(view.console.settings.deadline_factor)
    _head(method.short_name, keep)
    widgets.mono(method.full_name)
    live_facts(live, partial(_rates_of_method, method))
    with ui.element("div").classes("links"):
        _links(method)
    _policy(view, method)
    _heading("Budget of each path")
    _budget(tree_of(graph, method.full_name), keep)
    _heading("Callers")
    _callers(live, method, graph, keep)


def _rates_of_method(method: Method, traffic: Traffic) -> Rates:
    return next(
        (found.methods[method.full_name] for found in traffic.services.values() if method.full_name in found.methods),
        Rates(),
    )


def _callers(live: LiveTexts, method: Method, graph: Graph, keep: Mapping[str, str]) -> None:
    """Show each caller with its numbers, and below it the methods and events of the contracts that call."""
    name = method.full_name
    edges = live.traffic.edges_of(method=name)
    if not edges:
        ui.label("No contract declares a call, and there were none from outside.").classes("note")
        return
    with ui.element("div").classes("scroll"), ui.element("table").classes("rows"):
        _headings("caller", "calls", "errors", "p99")
        with ui.element("tbody"):
            for edge in edges:
                address = map_address(**keep, edge=edge_key(edge.caller, name))
                live_row(live, edge.caller, address, partial(_rates_of_edge, edge.caller, method))
    sources = [each.name if each.name == HTTP_ENDPOINT else short_name(each.name) for each in callers_of(method, graph)]
    if sources:
        ui.label(f"By the contracts: {', '.join(sources)}.").classes("note")


def _budget(node: Node, keep: Mapping[str, str]) -> None:
    if not node.children:
        ui.label(f"{node.budget_text() or 'No deadline'}. The method calls no other.").classes("note")
        return
    with ui.element("ul").classes("tree"):
        _branch(node, "", keep)
    ui.label("A time is the shortest deadline on the path. A later call (⇢) begins a new path.").classes("note")


def _branch(node: Node, arrow: str, keep: Mapping[str, str]) -> None:
    with ui.element("li"):
        with ui.element("span"):
            if arrow:
                ui.label(arrow).style("display: inline").classes("soft")
            ui.link(short_name(node.method), map_address(**keep, method=short_name(node.method)))
            repeated = ", see above" if node.is_repeated else ""
            ui.label(f" {node.budget_text()}{repeated}").style("display: inline").classes("soft")
        if node.children:
            with ui.element("ul"):
                for kind, child in node.children:
                    _branch(child, f"{ARROWS[kind]} ", keep)


def _service(view: View, live: LiveTexts, keep: Mapping[str, str]) -> None:
    name = view.query("service")
    if name not in SERVICES:
        raise UnknownPart(f'There is no service "{name}". Services: {", ".join(SERVICE_NAMES)}.')
    _head(name, keep)
    widgets.mono(view.console.settings.url_of(name))
    live_facts(
        live,
        lambda traffic: traffic.services[name].rates,
        {"metrics": lambda traffic: traffic.services[name].problem or "read"},
    )
    widgets.command(f"solo60 logs {name}")
    _heading("Methods")
    with ui.element("div").classes("scroll"), ui.element("table").classes("rows"):
        _headings("method", "calls", "errors", "p99")
        with ui.element("tbody"):
            for method in methods_of(SERVICES[name]):
                address = map_address(**keep, method=method.short_name)
                live_row(live, method.name, address, partial(_rates_of_method, method))


def _links(method: Method) -> None:
    ui.link("Contract", address_of_method(method.full_name))
    ui.link("Traces", page_address("traces", method=method.short_name))


def _policy(view: View, method: Method) -> None:
    _heading("Policy")
    facts = {fact.name: fact for fact in explain(method, view.console.settings)}
    widgets.fact_list({_words(name): _value(facts[name]) for name in SUMMARY if name in facts}.items())
    widgets.command(f"solo60 explain {method.short_name}")


def _words(name: str) -> str:
    return name.replace("_", " ").replace(".", ": ")


def _value(fact: Fact) -> str:
    return fact.value if fact.source == "contract" else f"{fact.value} ({fact.source})"


def _heading(text: str) -> None:
    widgets.heading(text, level=3)


def _headings(*names: str) -> None:
    with ui.element("thead"), ui.element("tr"):
        for name in names:
            with ui.element("th").props("scope=col"):
                ui.label(name)
