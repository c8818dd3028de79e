"""The call in the editor as text to copy, for the shell and for Python."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from nicegui import ui

from operations.calls.snippets import Snippet, snippets_of

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from contracts.method import Method
    from mesh.config import Settings
    from operations.calls.traced_call import CallOptions


class CopiedCall:
    """Area with one text for each tool."""

    def __init__(self) -> None:
        with ui.element("details").classes("copied"):
            with ui.element("summary"):
                ui.label("The same call as text: solo60, buf curl, grpcurl, Python")
            self._area = ui.element("div")
        self._texts: dict[str, ui.label] = {}

    def clear(self) -> None:
        """Show that there is no valid call to copy."""
        self._texts.clear()
        self._area.clear()
        with self._area:
            ui.label("Correct the request first.").classes("note")

    def show(self, method: Method, request: Message, options: CallOptions, settings: Settings) -> None:
        """Show the texts of a call."""
        snippets = snippets_of(method, request, options, settings)
        if list(self._texts) != [each.tool for each in snippets] or any(each.note for each in snippets):
            self._draw(snippets)
        for each in snippets:
            self._texts[each.tool].text = each.text

    def _draw(self, snippets: list[Snippet]) -> None:
        self._texts.clear()
        self._area.clear()
        with self._area:
            for each in snippets:
                with ui.element("div").classes("row-line"):
                    ui.label(each.tool).classes("title")
                    ui.button(icon="content_copy", on_click=partial(self._write, each.tool)).props(
                        f'flat dense round size=sm aria-label="Copy the call for {each.tool}"'
                    )
                    ui.label(each.note).classes("note")
                self._texts[each.tool] = ui.label(each.text).classes("mono json").props(f'aria-label="{each.tool}"')

    def _write(self, tool: str) -> None:
        ui.clipboard.write(self._texts[tool].text)
