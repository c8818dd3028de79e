"""Table of all outboxes that changes in place: pending messages, dead letters and the work ahead."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from nicegui import ui

from console import widgets
from contracts.services import SERVICE_NAMES
from operations.outbox_backlog import OutboxState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from contracts.errors import ServiceError

HEADINGS = ("service", "pending", "due", "oldest due", "dead letters", "other work due", "next work")
NUMBERS = range(4)


class BacklogTable:
    """Table with one row per service. Its labels stay, so that a change moves no focus and costs little."""

    def __init__(self, states: Mapping[str, OutboxState | ServiceError]) -> None:
        self._cells: dict[str, list[ui.label]] = {name: [] for name in SERVICE_NAMES}
        widgets.table(
            HEADINGS,
            [
                (
                    partial(ui.link, name, f"/outbox?service={name}"),
                    *(partial(self._add_cell, name, is_number=place in NUMBERS) for place in range(len(HEADINGS) - 1)),
                )
                for name in SERVICE_NAMES
            ],
        )
        self.show(states)

    def show(self, states: Mapping[str, OutboxState | ServiceError]) -> None:
        """Show the current states."""
        for name, state in states.items():
            is_known = isinstance(state, OutboxState)
            texts = _texts_of(state) if isinstance(state, OutboxState) else _texts_of_error(state)
            for label, text in zip(self._cells[name], texts, strict=True):
                label.text = text
            dead, last = self._cells[name][3], self._cells[name][-1]
            dead.classes(**_added_if("bad-text", is_added=texts[3] not in ("", "0")))
            last.classes(**_added_if("bad-text", is_added=not is_known))

    def _add_cell(self, name: str, *, is_number: bool) -> None:
        if is_number:
            ui.context.slot.parent.classes("number")
        self._cells[name].append(ui.label())


def _added_if(name: str, *, is_added: bool) -> dict[str, str]:
    return {"add" if is_added else "remove": name}


def _texts_of(state: OutboxState) -> list[str]:
    age_s = state.oldest_due_age_s
    return [
        str(state.pending_count),
        str(state.due_count),
        "" if age_s is None else f"{age_s:.1f} s",
        str(state.dead_count),
        ", ".join(state.schedule.due_timers),
        f"{state.next_work}: {widgets.moment(state.next_due_time)}" if state.next_work else "",
    ]


def _texts_of_error(error: ServiceError) -> list[str]:
    return ["", "", "", "", "", f"No answer: {error.code.name}: {error.message} Page Now shows the reason."]
