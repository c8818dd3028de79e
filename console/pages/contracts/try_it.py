"""Part of a method's page that calls the method with the reader's own key."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import structlog
from nicegui import ui

from console import widgets
from console.guard import login_address
from console.pages.contracts.call_options import OptionsForm
from console.pages.contracts.call_outcome import Outcome
from console.pages.contracts.copied_call import CopiedCall
from console.pages.contracts.request_editor import RequestEditor
from contracts.errors import ServiceError
from mesh.failure import Failure
from operations.calls.json_places import line_of_error, line_of_path
from operations.calls.requests import InvalidRequestText, parse_request
from operations.calls.traced_call import TracedCall

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from console.frame import View
    from operations.calls.traced_call import CallOptions
    from operations.contracts.documents import MethodDocument

PROGRAM = "solo60.console"

_log = structlog.stdlib.get_logger("solo60.console")


class TryIt:
    """Editor, options and outcome of calls of one method. One call runs at a time."""

    def __init__(self, view: View, document: MethodDocument) -> None:
        self._view = view
        self._document = document
        self._method = document.method
        self._running: asyncio.Task[None] | None = None
        self._client = ui.context.client
        self._client.on_delete(self._stop)
        with ui.element("div").classes("try"):
            with ui.element("div").classes("card ask-for"):
                self._editor = RequestEditor(
                    json.dumps(document.example, indent=2, ensure_ascii=False), self._copy, self._call
                )
                self._options = OptionsForm(self._method, self._copy)
                self._buttons()
            with ui.element("div").classes("card"):
                self._outcome = Outcome()
        self._copied = CopiedCall()
        self._copy()

    def _buttons(self) -> None:
        with ui.element("div").classes("row-line"):
            self._button = ui.button("Call", on_click=self._call).props("unelevated no-caps")
            self._stop_button = ui.button("Stop", on_click=self._stop).props("outline no-caps")
            self._stop_button.set_visibility(False)
            ui.button("Reset to the example", on_click=self._reset).props("flat no-caps")
            missing = self._missing_scope()
            if not missing:
                ui.label(f"as {self._view.reader.caller}. Ctrl+Enter calls, too.").classes("note")
                return
            self._button.disable()
            ui.label(widgets.missing_scope(self._view, missing)).classes("note")
            ui.link("Sign in", login_address(self._view.address))

    def _missing_scope(self) -> str:
        return ", ".join(sorted(self._method.policy.scopes - self._view.reader.scopes))

    def _reset(self) -> None:
        self._editor.clear()
        self._editor.reset()

    def _stop(self) -> None:
        if self._running is not None:
            self._running.cancel()

    def _copy(self) -> None:
        """Show the same call as text, or nothing as long as the request is invalid."""
        try:
            request, options = parse_request(self._method, self._editor.text), self._options.read()
        except Failure:
            self._copied.clear()
        else:
            self._copied.show(self._method, request, options, self._view.console.settings)

    async def _call(self) -> None:
        """Make the call, unless one is running. Ask first if the method may change data."""
        missing = self._missing_scope()
        if self._running is not None or missing:
            if missing:
                ui.notify(widgets.missing_scope(self._view, missing), type="warning")
            return
        self._editor.clear()
        read = self._read()
        if read is None:
            return
        name = self._method.short_name
        question = f"The call may change data of this mesh. It uses the key of {self._view.reader.caller}."
        if self._document.is_read_only or await widgets.confirmed(f"Call {name}?", question, "Call"):
            await self._make(*read)

    def _read(self) -> tuple[Message, CallOptions] | None:
        """Return the request and the options, or show their first fault and return None."""
        try:
            request = parse_request(self._method, self._editor.text)
        except InvalidRequestText as error:
            line = line_of_error(self._editor.text) or line_of_path(self._editor.text, error.field)
            self._editor.show_fault(line, str(error))
            return None
        try:
            return request, self._options.read()
        except Failure as error:
            self._outcome.refuse(str(error))
            return None

    async def _make(self, request: Message, options: CallOptions) -> None:
        made = TracedCall(self._method, request, options)
        self._outcome.begin(is_stream=self._method.response_streaming)
        self._button.disable()
        self._stop_button.set_visibility(True)
        channels = self._view.console.channels_of(self._view.reader)
        self._running = asyncio.create_task(made.run(channels, PROGRAM, self._outcome.add))
        await asyncio.wait({self._running})
        task, self._running = self._running, None
        error = None if task.cancelled() else task.exception()
        self._log(
            made, "CANCELLED" if task.cancelled() else error.code.name if isinstance(error, ServiceError) else "OK"
        )
        if error is not None and not isinstance(error, ServiceError):
            raise error
        if self._client.id in type(self._client).instances:  # the reader has not left the page
            self._show_end(made, error, is_stopped=task.cancelled())

    def _show_end(self, made: TracedCall, error: ServiceError | None, *, is_stopped: bool) -> None:
        self._button.enable()
        self._stop_button.set_visibility(False)
        self._outcome.end(made, error, is_stopped=is_stopped)
        if error is not None and error.violations:
            self._editor.show_violations(error.violations)

    def _log(self, made: TracedCall, code: str) -> None:
        """Log a call without its request, which may have personal data."""
        _log.info(
            "called",
            method=self._method.full_name,
            caller=self._view.reader.caller,
            code=code,
            trace_id=made.trace_id,
            correlation_id=made.correlation_id,
            duration_ms=round(made.duration_ms, 1),
        )
