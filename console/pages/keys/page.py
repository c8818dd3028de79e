"""Page `/keys`: API keys of all callers, with their scopes, use and expiry."""

from __future__ import annotations

from datetime import UTC
from functools import partial
from typing import TYPE_CHECKING

from nicegui import ui

from console import widgets
from console.filter_form import FilterField, FilterForm, choice
from console.frame import page
from console.pages.keys.actions import KeyActions
from mesh.failure import Failure
from operations.addresses import page_address
from operations.keys import STATES, VALID
from operations.texts import counted, moment

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from console.frame import View
    from operations.keys import KeyInfo

ALL = "all"
UPDATE_INTERVAL_S = 2.0
ROWS_PER_PAGE = 50
HEADINGS = ("key id", "caller", "state", "scopes", "created (UTC)", "last used (UTC)", "expires (UTC)", "")


@page("/keys", "Keys")
async def keys(view: View) -> None:
    """Show the keys that match the filters, and the actions of a reader who may manage keys."""
    found = await view.console.keys.get()
    with ui.element("div").classes("keys-top"):
        FilterForm("/keys", _fields(view, found))
        table = _Table(view)
        table.actions.issue_button()
    table.actions.hint()
    table.begin(found)
    ui.timer(UPDATE_INTERVAL_S, table.update)


def _fields(view: View, found: Sequence[KeyInfo]) -> list[FilterField]:
    callers = sorted({key.record.caller for key in found})
    states = [("", VALID), *((state, state) for state in STATES if state != VALID), (ALL, ALL)]
    return [
        choice("caller", "Caller", view.query("caller"), callers),
        FilterField("state", "State", view.query("state"), options=states),
    ]


class _Table:
    """Table of keys, which is drawn again when a key changes."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._found: list[KeyInfo] = []
        self.actions = KeyActions(view, self.redraw)

    def begin(self, found: list[KeyInfo]) -> None:
        """Draw the table below all earlier elements."""
        self._box = ui.element("div")
        self._found = found
        self._draw()

    async def redraw(self) -> None:
        """Read the keys after a change."""
        self._view.console.keys.expire()
        await self.update()

    async def update(self) -> None:
        """Draw the table again if a key has changed."""
        try:
            found = await self._view.console.keys.get()
        except Failure as error:
            self._found = []
            self._box.clear()
            with self._box:
                widgets.error_state(str(error))
            return
        if found != self._found:
            self._found = found
            self._box.clear()
            self._draw()

    def _draw(self) -> None:
        state, caller = self._view.query("state") or VALID, self._view.query("caller")
        wanted = [key for key in self._found if state in (ALL, key.state) and caller in ("", key.record.caller)]
        # The newest key of each caller comes first.
        wanted.sort(key=lambda key: key.record.not_before, reverse=True)
        wanted.sort(key=lambda key: key.record.caller)
        number = self._page_number(len(wanted))
        shown = wanted[(number - 1) * ROWS_PER_PAGE : number * ROWS_PER_PAGE]
        with self._box:
            if not wanted:
                widgets.empty_state("No key matches", _hint(self._found))
                return
            widgets.table(HEADINGS, map(self._row, shown)).classes("key-table")
            if len(wanted) > ROWS_PER_PAGE:
                self._pages(number, len(wanted))

    def _page_number(self, rows: int) -> int:
        asked = self._view.query("page", "1")
        last = max(1, -(-rows // ROWS_PER_PAGE))
        return min(max(1, int(asked)), last) if asked.isdecimal() and asked.isascii() else 1

    def _pages(self, number: int, rows: int) -> None:
        filters = {name: self._view.query(name) for name in ("caller", "state")}
        first = (number - 1) * ROWS_PER_PAGE
        with ui.element("p").classes("row-line"):
            ui.label(f"{first + 1} to {min(first + ROWS_PER_PAGE, rows)} of {rows:,} keys").classes("soft")
            if number > 1:
                ui.link("Previous", page_address("keys", **filters, page=str(number - 1)))
            if number * ROWS_PER_PAGE < rows:
                ui.link("Next", page_address("keys", **filters, page=str(number + 1)))

    def _row(self, key: KeyInfo) -> tuple[object, ...]:
        record = key.record
        return (
            partial(widgets.mono, record.key_id),
            record.caller,
            partial(_state, key),
            partial(_scopes, key),
            partial(_minute, record.not_before),
            partial(_minute, key.last_used),
            partial(_minute, record.not_after),
            partial(self.actions.buttons, key, self._found),
        )


def _hint(found: Sequence[KeyInfo]) -> str:
    if not found:
        return "The keyring is empty. A local mesh issues its keys when it starts; `solo60 keys issue` issues others."
    return "Clear the filters, or choose another state."


def _minute(time: datetime | None) -> None:
    label = ui.label(f"{time.astimezone(UTC):%Y-%m-%d %H:%M}" if time else "never").classes("moment")
    label.props["title"] = moment(time)


def _state(key: KeyInfo) -> None:
    widgets.badge(key.state, "good" if key.state == VALID else "")
    if key.expires_soon:
        widgets.badge("expires soon", "warn").tooltip("The caller has no key that stays valid for a week. Rotate it.")


def _scopes(key: KeyInfo) -> None:
    """Show the number of scopes, and the scopes themselves after a click."""
    scopes = sorted(key.record.scopes)
    with ui.element("details").classes("scopes"):
        with ui.element("summary"):
            ui.label(counted(len(scopes), "scope")).style("display: inline")
        for scope in scopes:
            if scope in key.needless_scopes:
                ui.label(f"{scope} (needless)").classes("scope needless")
            else:
                ui.label(scope).classes("scope")
    if key.needless_scopes:
        widgets.badge(f"{len(key.needless_scopes)} needless", "warn").tooltip(
            "The caller's contract calls no method with them. Issue a new key, then revoke this one."
        )
