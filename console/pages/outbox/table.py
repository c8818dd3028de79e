"""Table of all outboxes: pending messages, dead letters and the work ahead."""

from __future__ import annotations

from typing import TYPE_CHECKING

from console.text_table import Cell
from contracts.errors import ServiceError
from operations.addresses import page_address
from operations.texts import NO_ANSWER, as_sentence, failure_text, moment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from operations.outbox.backlog import OutboxState


HEADINGS = ("service", "pending", "due", "oldest due", "dead letters", "other work due", "next work")
NUMBERS = (1, 2, 3, 4)
NONE = "none"
NOTE = (
    "Due messages include those that wait for another attempt. Messages for a later time, such as reminders, are "
    "pending and not due."
)


def rows_of(states: Mapping[str, OutboxState | ServiceError]) -> list[tuple[Cell | str, ...]]:
    """Return a row per service. The row of a service that did not answer has the reason instead of numbers."""
    return [(Cell(name, page_address("outbox", service=name)), *_cells(state)) for name, state in states.items()]


def _cells(state: OutboxState | ServiceError) -> tuple[Cell | str, ...]:
    if isinstance(state, ServiceError):
        return (Cell(no_answer(state), tone="bad", columns=len(HEADINGS) - 1),)
    age_s = state.oldest_due_age_s
    return (
        str(state.pending_count),
        str(state.due_count),
        NONE if age_s is None else f"{age_s:.1f} s",
        Cell(str(state.dead_count), tone="bad" if state.dead_count else ""),
        ", ".join(state.schedule.due_timers) or NONE,
        f"{state.next_work}: {moment(state.next_due_time)}" if state.next_work else NONE,
    )


def no_answer(error: ServiceError) -> str:
    """Return why a service did not answer."""
    reason = " The page Now shows the reason." if error.code in NO_ANSWER else ""
    return f"No answer: {as_sentence(failure_text(error))}{reason}"
