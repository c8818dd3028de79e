"""Parts that several pages share: states, facts, times, confirmations and actions.

Text is shown as text. No function accepts HTML.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from nicegui import ui

from contracts.errors import ServiceError
from mesh.failure import Failure
from operations.texts import error_text, moment

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable
    from datetime import datetime

    from console.frame import View

# Tones of the levels of log lines that need attention.
LEVEL_TONES = {"warning": "warn", "error": "bad", "critical": "bad"}

_log = structlog.stdlib.get_logger("solo60.console")


def empty_state(text: str, hint: str = "") -> None:
    """Show that a list is empty, and how to fill it."""
    _state("empty", text, hint)


def error_state(text: str, hint: str = "") -> None:
    """Show a failure in place of the content, and the remedy."""
    _state("failed", text, hint)


def _state(kind: str, text: str, hint: str) -> None:
    with ui.element("section").classes(f"state {kind}").props("role=status"):
        ui.label(text).classes("title")
        if hint:
            ui.label(hint).classes("note")


def service_error(error: ServiceError) -> None:
    """Show all details of a service's error, with each violation beside its field."""
    with ui.element("section").classes("state failed").props("role=alert"):
        names = dict.fromkeys(name for name in (error.code.name, error.reason_name()) if name)
        ui.label(f"{' '.join(names)}: {error.message}").classes("title")
        for violation in error.violations:
            with ui.element("p"):
                ui.label(violation.field).classes("mono title")
                ui.label(violation.description)
        facts = {**error.metadata, "method": error.callee, "correlation id": error.correlation_id}
        if error.retry_after_s is not None:
            facts["retry after"] = f"{error.retry_after_s:.3f} s"
        fact_list(facts.items())


def heading(text: str, *, level: int = 2) -> None:
    """Show a heading."""
    with ui.element(f"h{level}"):
        ui.label(text)


def fact_list(facts: Iterable[tuple[str, Callable[[], object] | object]]) -> None:
    """Show names and values, one pair per line. A value is its text, or a function that draws it.

    A name may occur several times. Pairs with the value "" or None are omitted.
    """
    with ui.element("dl").classes("facts"):
        for name, value in facts:
            if value in ("", None):
                continue
            with ui.element("dt"):
                ui.label(name)
            with ui.element("dd"):
                _draw(value)


def _draw(value: Callable[[], object] | object) -> None:
    if callable(value):
        value()
    else:
        ui.label(str(value))


def table(
    headings: Iterable[str],
    rows: Iterable[Iterable[Callable[[], object] | object]],
    numbers: Collection[int] = (),
) -> ui.element:
    """Show a table. A cell is its text, or a function that draws the cell.

    Numbers are aligned to the right, and so are the columns in `numbers`, counted from 0.
    """
    cells = [tuple(row) for row in rows]
    right = {*numbers, *(place for row in cells for place, cell in enumerate(row) if isinstance(cell, int | float))}
    with ui.element("div").classes("scroll") as box, ui.element("table").classes("rows"):
        with ui.element("thead"), ui.element("tr"):
            for place, heading in enumerate(headings):
                with ui.element("th").props("scope=col").classes("number" if place in right else ""):
                    ui.label(heading)
        with ui.element("tbody"):
            for row in cells:
                with ui.element("tr"):
                    for place, cell in enumerate(row):
                        _cell(cell, is_number=place in right)
    return box


def _cell(cell: Callable[[], object] | object, *, is_number: bool) -> None:
    with ui.element("td").classes("number" if is_number else ""):
        _draw(cell)


def badge(text: str, tone: str = "") -> ui.label:
    """Show a short state. `tone` is "good", "bad", "warn" or "" for neutral."""
    return ui.label(text).classes(f"badge {tone}")


def mono(text: str) -> ui.label:
    """Show an id, a path or a command in a fixed-width font."""
    return ui.label(text).classes("mono")


def nowrap(text: str) -> ui.label:
    """Show a short text, such as a time, on one line."""
    return ui.label(text).classes("nowrap")


def command(text: str) -> None:
    """Show a command of the shell with a button that copies it."""
    with ui.element("div").classes("command"):
        ui.label(text).classes("mono")
        ui.button(icon="content_copy", on_click=lambda: ui.clipboard.write(text)).props(
            'flat dense round size=sm aria-label="Copy"'
        )


def time_cell(time: datetime | None, *, milliseconds: bool = False) -> None:
    """Show a time as `moment` in the cell of a table. In a narrow cell, date and time have a line each."""
    date, _, rest = moment(time, milliseconds=milliseconds).partition(" ")
    with ui.element("div").classes("time"):
        ui.label(date)
        ui.label(rest)


async def confirmed(title: str, text: str, action: str) -> bool:
    """Ask the reader, and return whether the reader chose `action`."""
    with ui.dialog() as dialog, ui.card().classes("ask"):
        ui.label(title).classes("title")
        ui.label(text).classes("note")
        with ui.element("div").classes("choices"):
            ui.button("Cancel", on_click=lambda: dialog.submit("")).props("flat no-caps autofocus")
            ui.button(action, on_click=lambda: dialog.submit(action)).props("unelevated no-caps")
    choice = await dialog
    dialog.delete()
    return bool(choice == action)


def action_button(
    view: View,
    name: str,
    *,
    scope: str,
    question: str,
    target: str,
    act: Callable[[], Awaitable[str]],
) -> ui.button:
    """Show a button for an action that needs the reader's key with `scope`.

    The button asks `question` before it acts, logs the reader's caller name, `name` and `target`, and shows the text
    that `act` returns, or its error.
    """

    async def run() -> None:
        # The page may draw its content anew while the reader decides, which deletes the button.
        with button.client:
            await run_on_page()

    async def run_on_page() -> None:
        if scope not in view.reader.scopes:  # signed out meanwhile, in another tab
            ui.notify(missing_scope(view, scope), type="warning")
            return
        if await confirmed(f"{name}?", question, name):
            await run_action(view, name, target, act)

    button = ui.button(name, on_click=run).props("outline dense no-caps")
    if scope not in view.reader.scopes:
        button.disable()
        with button:
            ui.tooltip(missing_scope(view, scope))
    return button


async def run_action(view: View, name: str, target: str, act: Callable[[], Awaitable[str]]) -> None:
    """Run an action, log it with its outcome, and show the outcome."""
    facts = {"action": name, "target": target, "caller": view.reader.caller}
    try:
        result = await act()
    except ServiceError as error:
        _log.warning("action failed", **facts, code=error.code.name)
        ui.notify(error_text(error), type="negative", timeout=10_000)
    except Failure as error:
        _log.warning("action failed", **facts)
        ui.notify(str(error), type="negative", timeout=10_000)
    else:
        _log.info("action", **facts)
        ui.notify(result, type="positive")


def missing_scope(view: View, scope: str) -> str:
    """Return a sentence about the key or scope that the reader lacks."""
    if not view.reader.is_signed_in:
        return f"Sign in with a key that has the scope {scope}."
    return f"The key of {view.reader.caller} lacks the scope {scope}."
