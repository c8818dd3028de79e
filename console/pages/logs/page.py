"""Page `/logs`: live tail of all logs of a local mesh, with filters in its address."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from nicegui import ui

from console import widgets
from console.filter_form import FilterField, FilterForm
from console.frame import page
from console.pages.logs.lines import LogLines
from operations.addresses import page_address
from operations.invalid_filter import InvalidFilter
from operations.logs.filter import CODES, FAILED, LEVELS, LogFilter, names_of_logs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from console.frame import View
    from operations.logs.tail import LogTail, LogView

HISTORY_LINES = 200
UPDATE_INTERVAL_S = 0.5
# Nobody can read more, and each line costs memory until the browser has it.
LINES_PER_UPDATE = 100
NO_LOGS = "This console has no log folder"
WITHOUT_LOGS = (
    "A local mesh has one: start it with `make run`, and its console shows all logs. A deployed service writes its log "
    "as JSON lines to standard output, where the platform collects them. With OTEL_EXPORTER_OTLP_ENDPOINT, services "
    "also send their telemetry to a collector: read it in the collector's own user interface."
)

_log = structlog.stdlib.get_logger("solo60.console")


@page("/logs", "Logs")
async def logs(view: View) -> None:
    """Show the latest lines that match the filters, and the following ones as they come."""
    settings = view.console.settings
    if not settings.log_folder.is_dir():
        widgets.empty_state(f"{NO_LOGS}: {settings.log_folder.absolute()}", WITHOUT_LOGS)
        return
    names = names_of_logs(settings.log_folder)
    FilterForm("/logs", _fields(view, names))
    try:
        names = _chosen(names, view.query("service").strip())
        wanted = LogFilter.of(
            level=view.query("level"),
            text=view.query("text"),
            correlation_id=view.query("correlation"),
            method=view.query("method"),
            code=view.query("code"),
        )
    except InvalidFilter as error:
        widgets.error_state(str(error), "Change the filter, or clear all filters.")
        return
    if wanted.correlation_id:
        with ui.element("p").classes("row-line"):
            ui.label("Correlation or trace id").classes("soft")
            widgets.mono(wanted.correlation_id)
            ui.link("Traces of this call", page_address("traces", id=wanted.correlation_id))
    _Tail(view.console.logs, names, wanted)


def _chosen(names: list[str], service: str) -> list[str]:
    if service and service not in names:
        raise InvalidFilter("service", f'there is no log of "{service}". Use one of {", ".join(names)}.')
    return [service] if service else names


def _fields(view: View, names: Sequence[str]) -> list[FilterField]:
    def field(name: str, label: str, placeholder: str) -> FilterField:
        return FilterField(name, label, view.query(name), placeholder, size="wide" if name == "correlation" else "")

    def choice(name: str, label: str, *options: tuple[str, str]) -> FilterField:
        return FilterField(name, label, view.query(name), options=[("", "all"), *options])

    return [
        choice("service", "Service", *((name, name) for name in names)),
        choice("level", "Level, at least", *((level, level) for level in LEVELS[1:])),
        choice("code", "Code", (FAILED, "all except OK"), *((code, code) for code in CODES)),
        field("method", "Method", "gym.GetGym"),
        field("text", "Text", "any field"),
        field("correlation", "Correlation or trace id", ""),
    ]


class _Tail:
    """Live list on one page. Its view of the logs opens when the browser has connected, and closes with the page."""

    def __init__(self, tail: LogTail, names: Sequence[str], wanted: LogFilter) -> None:
        self._tail = tail
        self._names = names
        self._wanted = wanted
        self._view: LogView | None = None
        self._is_live = True
        self._shown_waiting = 0
        self._trouble = ui.label().classes("state failed")
        self._trouble.set_visibility(False)
        if wanted == LogFilter():
            hint = "New lines appear here. Call a method, for example: solo60 call gym.ListGyms"
        else:
            hint = (
                "New lines that match appear here. Clear a filter to see more; a rotated log has only its newest lines."
            )
        self._lines = LogLines("No line matches", hint, self._set_live)
        ui.context.client.on_delete(self._leave)
        ui.timer(UPDATE_INTERVAL_S, self._update)

    async def _update(self) -> None:
        try:
            if self._view is None:
                history, self._view = await self._tail.watch(self._names, self._wanted, HISTORY_LINES)
                self._lines.add(history)
        except OSError as error:
            self._show_trouble(f"{error.filename} cannot be read: {error.strerror}.")
            return
        self._show_trouble(self._tail.trouble)
        if self._is_live and len(self._view):
            self._lines.add(*self._view.take(LINES_PER_UPDATE))
        elif not self._is_live and len(self._view) != self._shown_waiting:
            self._shown_waiting = len(self._view)
            self._lines.wait(self._shown_waiting)

    def _set_live(self, is_live: bool) -> None:  # noqa: FBT001 - the signature of an event
        self._is_live = is_live
        self._shown_waiting = 0
        if is_live and self._view is not None:
            self._lines.add(*self._view.take())

    def _show_trouble(self, text: str) -> None:
        if text != self._trouble.text:
            self._trouble.set_text(text)
            self._trouble.set_visibility(bool(text))

    def _leave(self) -> None:
        if self._view is not None:
            self._tail.leave(self._view)
