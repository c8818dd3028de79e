"""Pages `/internal/docs/errors/{reason}`: one error reason, and the methods that return it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nicegui import ui

from console import widgets
from console.frame import page
from console.pages.contracts import parts
from console.pages.contracts.addresses import CATALOGUE, link_to_method
from operations.contracts.catalog import ERRORS
from operations.contracts.error_reasons import methods_with, reason_named

if TYPE_CHECKING:
    from console.frame import View


@page(f"{CATALOGUE}/errors/{{name}}", "Contracts")
async def error_reason(view: View, name: str) -> None:  # noqa: ARG001 - the signature of a page
    """Show one error reason."""
    reason = reason_named(name)
    parts.trail(name, ERRORS)
    with ui.element("div").classes("row-line"):
        widgets.heading(name)
        widgets.badge(reason.code, "bad")
    parts.comment(reason.meaning)
    widgets.heading("Returned by", level=3)
    if reason.of_every_method:
        ui.label("Any method may return this error of the mesh. No method declares it.")
        return
    with ui.element("ul").classes("links"):
        for method in methods_with(reason):
            with ui.element("li"):
                link_to_method(method)
