"""Pages `/internal/docs/types/{name}`: one message, event or enum."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from nicegui import ui

from console import widgets
from console.frame import page
from console.pages.contracts import parts
from console.pages.contracts.addresses import CATALOGUE, link_to_name
from contracts.names import short_name, short_package
from operations.contracts.catalog import type_of
from operations.contracts.documents import document_of_type

if TYPE_CHECKING:
    from console.frame import View
    from operations.contracts.documents import TypeDocument


@page(f"{CATALOGUE}/types/{{name}}", "Contracts")
async def contract_type(view: View, name: str) -> None:  # noqa: ARG001 - the signature of a page
    """Show one message, event or enum."""
    described = type_of(name)
    document = document_of_type(described)
    parts.trail(short_name(name), short_package(described.file.package))
    with ui.element("div").classes("row-line"):
        widgets.heading(name)
        widgets.badge(document.kind)
    parts.comment(document.comment)
    if document.kind == "event":
        _event(document)
    if document.kind == "enum":
        widgets.heading("Values", level=3)
        rows = [
            (partial(widgets.mono, each.name), each.number, partial(ui.label, each.comment)) for each in document.values
        ]
        widgets.table(("value", "number", "meaning"), rows)
    else:
        widgets.heading("Fields", level=3)
        parts.fields(document.fields)
        for rule in document.rules:
            ui.label(f"Rule: {rule}").classes("note")
    _links("Used by", document.used_by)


def _event(document: TypeDocument) -> None:
    order = f"Events with the same {document.aggregate_key} arrive in the order of their publication."
    facts = {
        "publisher": short_package(document.publisher),
        "delivery": "at least once to each subscriber",
        "order": order if document.aggregate_key else "none",
    }
    widgets.fact_list(facts.items())
    _links("Subscribers", document.subscribers, "No method subscribes to it.")


def _links(heading: str, names: tuple[str, ...], nothing: str = "") -> None:
    """Show the names under a heading, or `nothing`; without both, show no heading."""
    if names or nothing:
        widgets.heading(heading, level=3)
    if not names:
        if nothing:
            ui.label(nothing).classes("note")
        return
    with ui.element("ul").classes("links"):
        for each in names:
            with ui.element("li"):
                link_to_name(each)
