"""Editor for the JSON of a request, with line numbers and a mark at each line with a fault."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nicegui import ui

from operations.calls.json_places import line_of_path

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from contracts.service_error import Violation


class RequestEditor:
    """Editor that starts with `text`. Ctrl+Enter runs `submit`, and each change runs `changed`."""

    def __init__(self, text: str, changed: Callable[[], None], submit: Callable[[], Awaitable[None]]) -> None:
        self._example = text
        self._changed = changed
        with ui.element("div").classes("editor"):
            self._marks = ui.element("div").props("aria-hidden=true")
            self._numbers = ui.label().classes("numbers").props("aria-hidden=true")
            self._area = ui.textarea(value=text, on_change=self._note_change).props(
                'outlined dense autogrow spellcheck=false autocomplete=off aria-label="Request as JSON" wrap=off'
            )
            self._area.on("keydown.ctrl.enter", submit).on("keydown.meta.enter", submit)
        self._faults = ui.element("div").props("role=alert").classes("faults")
        self._number_lines()

    @property
    def text(self) -> str:
        """The current text."""
        return str(self._area.value or "")

    def reset(self) -> None:
        """Show the example again."""
        self._area.value = self._example

    def show_violations(self, violations: Sequence[Violation]) -> None:
        """Mark the line of each invalid field, and show its rule."""
        self.clear()
        for each in violations:
            self._show(line_of_path(self.text, each.field), each.field, each.description)

    def show_fault(self, line: int | None, reason: str) -> None:
        """Mark a line at which the text is wrong, and show the reason."""
        self.clear()
        self._show(line, "", reason)

    def clear(self) -> None:
        """Remove all marks."""
        self._marks.clear()
        self._faults.clear()

    def _show(self, line: int | None, field: str, reason: str) -> None:
        if line is not None:
            with self._marks:
                ui.element("div").classes("mark").style(f"--line: {line}")
        with self._faults, ui.element("p"):
            if line is not None:
                ui.label(f"Line {line}").classes("badge bad")
            if field:
                ui.label(field).classes("mono")
            ui.label(reason)

    def _note_change(self) -> None:
        self.clear()
        self._number_lines()
        self._changed()

    def _number_lines(self) -> None:
        self._numbers.text = "\n".join(map(str, range(1, self.text.count("\n") + 2)))
