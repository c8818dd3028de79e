"""Parts of the pages about contracts: comments, and tables of fields and errors."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from nicegui import ui

from console import widgets
from console.pages.contracts.addresses import CATALOGUE, address_of_reason, address_of_service, address_of_type
from operations.contracts.texts import paragraphs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from operations.contracts.error_reasons import Reason
    from operations.contracts.field_rules import FieldRules


def trail(title: str, group: str = "") -> None:
    """Show the way from the catalogue to a page, and the name of the page in the title of the tab."""
    ui.page_title(f"{title} · Solo60")
    with ui.element("p").classes("trail"):
        ui.link("All contracts", CATALOGUE)
        if group:
            ui.label("/").props("aria-hidden=true")
            ui.link(group, address_of_service(group))


def comment(text: str) -> None:
    """Show a comment of the contracts."""
    for each in paragraphs(text):
        with ui.element("p").classes("prose"):
            prose(each)


def prose(text: str) -> None:
    """Show text in which backticks mark code."""
    for number, part in enumerate(text.split("`")):
        if part:
            ui.label(part).classes("code" if number % 2 else "")


def fields(found: Iterable[FieldRules]) -> None:
    """Show a table of fields."""
    rows = [
        (
            partial(_path, each),
            partial(_type, each),
            "; ".join(each.rules),
            partial(_meaning, each),
        )
        for each in found
    ]
    if rows:
        widgets.table(("field", "type", "rules", "meaning"), rows).classes("fields")
    else:
        ui.label("No fields.").classes("note")


def _path(field: FieldRules) -> None:
    ui.label(field.path).classes("mono field-name")


def _type(field: FieldRules) -> None:
    if field.type_name:
        ui.link(field.type, address_of_type(field.type_name)).classes("mono")
    else:
        widgets.mono(field.type)


def _meaning(field: FieldRules) -> None:
    with ui.element("div").classes("meaning"):
        prose(field.comment)
    if field.is_personal:
        widgets.badge("personal data", "warn")


def reasons(found: Iterable[Reason]) -> None:
    """Show a table of error reasons."""
    rows = [
        (partial(_reason, each.reason), partial(widgets.mono, each.code), partial(ui.label, each.meaning))
        for each in found
    ]
    widgets.table(("reason", "status code", "meaning"), rows).classes("reasons")


def _reason(name: str) -> None:
    ui.link(name, address_of_reason(name)).classes("mono")
