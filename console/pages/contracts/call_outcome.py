"""Outcome of a call on its page: the answers as they arrive, the error, the time of each service, and the trace."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from nicegui import ui

from console import widgets
from console.pages.contracts.addresses import link_to_name
from operations.addresses import page_address
from operations.calls.requests import message_as_dict
from operations.texts import NO_ANSWER, moment

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from contracts.errors import ServiceError
    from interceptors.deadline.ledger import Hop
    from operations.calls.traced_call import TracedCall

# A stream shows this many answers, the newest ones.
MAX_SHOWN = 20
# A browser is slow with more.
MAX_CHARACTERS = 100_000


class Outcome:
    """Area of a page that shows one call after the other."""

    def __init__(self) -> None:
        self._area = ui.element("div").classes("outcome").props('aria-live=polite aria-label="Answer"')
        self._number = 0
        with self._area:
            ui.label("No call yet.").classes("note")

    def begin(self, *, is_stream: bool) -> None:
        """Show that a call is running."""
        self._number = 0
        self._is_stream = is_stream
        self._area.clear()
        with self._area:
            self._head = ui.element("div").classes("row-line")
            self._body = ui.element("div").classes("answers")
        with self._head:
            ui.spinner(size="18px")
            self._state = ui.label("Waiting for the first message" if is_stream else "Calling")

    def add(self, response: Message) -> None:
        """Show one answer."""
        self._number += 1
        with self._body, ui.element("section").classes("answer"):
            if self._is_stream:
                ui.label(f"Message {self._number} · {moment(datetime.now(UTC), milliseconds=True)}").classes("note")
            _json(response)
        if self._is_stream:
            self._state.text = f"Receiving: {self._number} so far"
        shown = self._body.default_slot.children
        if len(shown) > MAX_SHOWN:
            self._body.remove(shown[0])

    def end(self, call: TracedCall, error: ServiceError | None, *, is_stopped: bool = False) -> None:
        """Show how a call ended."""
        self._head.clear()
        with self._head:
            if error is None:
                widgets.badge("STOPPED" if is_stopped else "OK", "" if is_stopped else "good")
            else:
                widgets.badge(error.code.name, "bad")
            ui.label(f"{call.duration_ms:,.1f} ms")
            if self._is_stream:
                noun = "message" if self._number == 1 else "messages"
                hidden = f", the last {MAX_SHOWN} shown" if self._number > MAX_SHOWN else ""
                ui.label(f"{self._number} {noun}{hidden}")
            if call.is_sampled:
                ui.link("Trace", page_address("traces", call.trace_id))
            else:
                ui.label("This trace was not sampled.").classes("note")
        with self._body:
            if error is not None:
                widgets.service_error(error)
                _hint(error)
            elif call.correlation_id:
                widgets.fact_list({"correlation id": call.correlation_id}.items())
            if call.ledger:
                _ledger(call.ledger)

    def refuse(self, reason: str) -> None:
        """Show why a call was not made."""
        self._area.clear()
        with self._area:
            widgets.error_state(reason)


def _hint(error: ServiceError) -> None:
    """Lead to the reason if the service did not answer. An error without a correlation id is the client's own."""
    if error.code in NO_ANSWER and not error.correlation_id:
        with ui.element("p").classes("row-line after-error"):
            ui.label("The service did not answer.").classes("note")
            ui.link("See whether it runs", "/")


def _json(response: Message) -> None:
    text = json.dumps(message_as_dict(response), indent=2, ensure_ascii=False)
    ui.label(text[:MAX_CHARACTERS]).classes("mono json")
    if len(text) > MAX_CHARACTERS:
        ui.label(f"The first {MAX_CHARACTERS:,} of {len(text):,} characters. `solo60 call` prints all.").classes("note")


def _ledger(hops: list[Hop]) -> None:
    widgets.heading("Time by service", level=3)
    rows = [(partial(_hop, hop), f"{hop.spent_ms:,} ms", f"{hop.allowed_ms:,} ms") for hop in hops]
    widgets.table(("method", "spent", "allowed"), rows).classes("ledger")


def _hop(hop: Hop) -> None:
    with ui.element("div").classes("hop").style(f"--depth: {hop.depth}"):
        link_to_name(hop.method)
        if not hop.sent_ledger:
            ui.label("measured by its caller: no answer").classes("note")
