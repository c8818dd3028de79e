"""Table of all outboxes that changes in place: pending messages, dead letters and the work ahead."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from grpc import StatusCode
from nicegui import ui

from console import widgets
from contracts.services import SERVICE_NAMES
from operations.outbox_backlog import OutboxState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from contracts.errors import ServiceError

HEADINGS = ("service", "pending", "due", "oldest due", "dead letters", "other work due", "next work")
NUMBERS = range(1, 5)
DEAD = 3
NONE = "none"
NOTE = (
    "Due messages include those that wait for another attempt. Messages for a later time, such as reminders, are "
    "pending and not due."
)


class BacklogTable:
    """Table with one row per service. Its labels stay, so that a change moves no focus and costs little."""

    def __init__(self, states: Mapping[str, OutboxState | ServiceError]) -> None:
        self._rows: dict[str, list[_Cell]] = {name: [] for name in SERVICE_NAMES}
        widgets.table(
            HEADINGS,
            [
                (
                    partial(ui.link, name, f"/outbox?service={name}"),
                    *(partial(self._add_cell, name) for _ in HEADINGS[1:]),
                )
                for name in SERVICE_NAMES
            ],
            NUMBERS,
        )
        ui.label(NOTE).classes("note")
        self.show(states)

    def show(self, states: Mapping[str, OutboxState | ServiceError]) -> None:
        """Show the current states."""
        for name, state in states.items():
            if isinstance(state, OutboxState):
                self._show_state(self._rows[name], state)
            else:
                self._show_error(self._rows[name], state)

    def _show_state(self, row: list[_Cell], state: OutboxState) -> None:
        age_s = state.oldest_due_age_s
        texts = (
            str(state.pending_count),
            str(state.due_count),
            NONE if age_s is None else f"{age_s:.1f} s",
            str(state.dead_count),
            ", ".join(state.schedule.due_timers) or NONE,
            f"{state.next_work}: {widgets.moment(state.next_due_time)}" if state.next_work else NONE,
        )
        for cell, text in zip(row, texts, strict=True):
            cell.show(text)
        row[DEAD].show(texts[DEAD], is_bad=state.dead_count > 0)

    def _show_error(self, row: list[_Cell], error: ServiceError) -> None:
        for cell in row[:-1]:
            cell.hide()
        row[-1].show(no_answer(error), is_bad=True, width=len(row))

    def _add_cell(self, name: str) -> None:
        self._rows[name].append(_Cell())


class _Cell:
    """Label in the table cell that is being drawn."""

    def __init__(self) -> None:
        self._cell = ui.context.slot.parent
        self._label = ui.label()
        self._width = 1

    def show(self, text: str, *, is_bad: bool = False, width: int = 1) -> None:
        """Show a text over `width` columns."""
        self._label.text = text
        self._label.classes(**{"add" if is_bad else "remove": "bad-text"})
        self._cell.set_visibility(True)
        if width != self._width:
            self._width = self._cell.props["colspan"] = width
            self._cell.update()

    def hide(self) -> None:
        """Leave the place to another cell."""
        self._cell.set_visibility(False)


def no_answer(error: ServiceError) -> str:
    """Return why a service did not answer. The text of gRPC about an unreachable service helps nobody."""
    if error.code is StatusCode.UNAVAILABLE:
        return "No answer: UNAVAILABLE. The page Now shows the reason."
    return f"No answer: {error.code.name}: {error.message}"
