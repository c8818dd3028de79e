"""Table of all outboxes: pending messages, dead letters and the work ahead."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grpc import StatusCode

from console import widgets
from console.text_table import Cell
from contracts.errors import CircuitOpen
from operations.outbox.backlog import OutboxState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from contracts.errors import ServiceError

HEADINGS = ("service", "pending", "due", "oldest due", "dead letters", "other work due", "next work")
NUMBERS = (1, 2, 3, 4)
NONE = "none"
NOTE = (
    "Due messages include those that wait for another attempt. Messages for a later time, such as reminders, are "
    "pending and not due."
)


def rows_of(states: Mapping[str, OutboxState | ServiceError]) -> list[tuple[Cell | str, ...]]:
    """Return a row per service. That of a service that did not answer has the reason instead of numbers."""
    return [
        (Cell(name, f"/outbox?service={name}"), *(_cells(state) if isinstance(state, OutboxState) else _reason(state)))
        for name, state in states.items()
    ]


def _cells(state: OutboxState) -> tuple[Cell | str, ...]:
    age_s = state.oldest_due_age_s
    return (
        str(state.pending_count),
        str(state.due_count),
        NONE if age_s is None else f"{age_s:.1f} s",
        Cell(str(state.dead_count), tone="bad" if state.dead_count else ""),
        ", ".join(state.schedule.due_timers) or NONE,
        f"{state.next_work}: {widgets.moment(state.next_due_time)}" if state.next_work else NONE,
    )


def _reason(error: ServiceError) -> tuple[Cell]:
    return (Cell(no_answer(error), tone="bad", columns=len(HEADINGS) - 1),)


def no_answer(error: ServiceError) -> str:
    """Return why a service did not answer. The text of gRPC about a service that is down or frozen helps nobody."""
    if isinstance(error, CircuitOpen):
        return "No answer: earlier calls failed. Reload the page in some seconds."
    if error.code in (StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED):
        return f"No answer: {error.code.name}. The page Now shows the reason."
    return f"No answer: {error.code.name}: {error.message}"
