"""Pages `/internal/docs/{service}/{method}`: one method, and calls of it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from nicegui import ui

from console import widgets
from console.frame import page
from console.pages.contracts import parts
from console.pages.contracts.addresses import CATALOGUE, address_of_type, link_to_name
from console.pages.contracts.try_it import TryIt
from contracts.durations import duration_text
from contracts.names import short_name
from operations.contracts.catalog import ERRORS, method_of
from operations.contracts.connections import HTTP_ENDPOINT, callees_of, callers_of, graph_of_services
from operations.contracts.documents import document_of_method
from operations.contracts.explanation import EDGES, explain
from operations.contracts.worst_case import worst_case_of

if TYPE_CHECKING:
    from console.frame import View
    from contracts.method import Method
    from operations.contracts.connections import Callee, Caller
    from operations.contracts.documents import MethodDocument
    from operations.contracts.worst_case import WorstCase

# Policies that other sections of the page show.
SHOWN_ELSEWHERE = EDGES | {"errors"}
SECTIONS = ("Try it", "Request", "Response", "Errors", "Policy", "Calls", "Worst case")


@page(f"{CATALOGUE}/{{service}}/{{method}}", "Contracts")
async def contract_method(view: View, service: str, method: str) -> None:
    """Show one method."""
    found = method_of(service, method)
    document = document_of_method(found)
    parts.trail(f"{service}.{method}", service)
    _title(document)
    parts.comment(document.comment)
    with ui.element("nav").classes("row-line sections").props('aria-label="Sections"'):
        for name in SECTIONS:
            ui.link(name, f"#{_anchor(name)}")
    _section("Try it")
    TryIt(view, document)
    _fields(document)
    _errors(document)
    _policy(view, found)
    _calls(view, found)
    _worst_case(worst_case_of(found))


def _title(document: MethodDocument) -> None:
    method = document.method
    with ui.element("div").classes("row-line"):
        widgets.heading(method.full_name)
        widgets.badge("reads only", "good") if document.is_read_only else widgets.badge("may change data", "warn")
        if method.response_streaming:
            widgets.badge("streams its answer")
        if method.policy.idempotency_key_required:
            widgets.badge("idempotency key")
        if method.policy.deprecation is not None:
            widgets.badge("deprecated", "bad")
        if method.policy.contract_only:
            widgets.badge("not implemented", "bad")
        for scope in sorted(method.policy.scopes):
            widgets.badge(f"scope {scope}")


def _anchor(name: str) -> str:
    return name.lower().replace(" ", "-")


def _section(name: str) -> None:
    with ui.element("h2").props(f"id={_anchor(name)}").classes("section"):
        ui.label(name)


def _fields(document: MethodDocument) -> None:
    _section("Request")
    _type_line(document.method.request_type.DESCRIPTOR.full_name)
    parts.fields(document.request)
    for rule in document.request_rules:
        ui.label(f"Rule: {rule}").classes("note")
    _section("Response")
    _type_line(document.method.response_type.DESCRIPTOR.full_name, is_stream=document.method.response_streaming)
    # The page of a type shows the fields of nested messages.
    parts.fields(each for each in document.response if "." not in each.path)


def _type_line(name: str, *, is_stream: bool = False) -> None:
    with ui.element("p"):
        if is_stream:
            ui.label("A stream of ")
        ui.link(short_name(name), address_of_type(name)).classes("mono")


def _errors(document: MethodDocument) -> None:
    _section("Errors")
    if document.errors:
        parts.reasons(document.errors)
    with ui.element("p").classes("note after"):
        ui.label("Besides, any method may return the errors of the mesh: " if document.errors else "")
        if not document.errors:
            ui.label("This method declares none. Any method may return the errors of the mesh: ")
        ui.link("all errors", f"{CATALOGUE}/{ERRORS}")


def _policy(view: View, method: Method) -> None:
    _section("Policy")
    facts = [each for each in explain(method, view.console.settings) if each.name not in SHOWN_ELSEWHERE]
    rows = [(partial(widgets.mono, each.name), each.value, partial(_source, each.source)) for each in facts]
    widgets.table(("policy", "value", "source"), rows).classes("names")


def _source(text: str) -> None:
    ui.label(text).classes("note")


def _calls(view: View, method: Method) -> None:
    graph = graph_of_services(view.console.settings.deadline_factor)
    callers, callees = callers_of(method, graph), callees_of(method, graph)
    _section("Calls")
    widgets.heading("Callers", level=3)
    if callers:
        widgets.table(("caller", "declared by"), [(partial(_caller, each), each.kind) for each in callers])
    else:
        ui.label("No contract declares a caller.").classes("note")
    widgets.heading("Callees", level=3)
    if callees:
        widgets.table(("callee", "declared by", "deadline"), list(map(_callee, callees)))
    else:
        ui.label("This method calls no other method.").classes("note")


def _caller(caller: Caller) -> None:
    if caller.name == HTTP_ENDPOINT:
        ui.label(caller.name)
    else:
        link_to_name(caller.name)


def _callee(callee: Callee) -> tuple[object, ...]:
    deadline = duration_text(callee.deadline_s) if callee.deadline_s is not None else "none"
    return partial(link_to_name, callee.name), callee.kind, deadline


def _worst_case(worst: WorstCase) -> None:
    _section("Worst case")
    ui.label(
        f"By its contract, a call takes at most {duration_text(worst.time_s) or 'any time'}: its own work, and one "
        "step after the other."
    )
    own = ("own work", duration_text(worst.own_work_s))
    steps = [(partial(_step, step.methods), duration_text(step.deadline_s) or "no limit") for step in worst.steps]
    widgets.table(("step", "at most"), [own, *steps])
    if worst.attempts > 1:
        ui.label(
            f"With retries and hedges, it causes at most {worst.attempts} attempts along this chain of calls:"
        ).classes("after")
        rows = [(partial(link_to_name, hop.method), hop.max_attempts) for hop in worst.chain]
        widgets.table(("method", "attempts of each call"), rows)


def _step(methods: tuple[str, ...]) -> None:
    with ui.element("div").classes("row-line"):
        for each in methods:
            link_to_name(each)
        if len(methods) > 1:
            ui.label("at the same time").classes("note")
