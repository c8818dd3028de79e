"""Page `/outbox/{service}/{message_id}`: one message with its masked payload, its history, and actions."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC
from functools import partial
from typing import TYPE_CHECKING

from nicegui import ui

from console import widgets
from console.following import Following
from console.frame import page
from console.pages.outbox.page import OPERATE, PATH, TONES, message_path, status_name
from console.text_table import TextTable, time_of
from contracts.errors import OutboxMessageNotFound
from contracts.services import SERVICE_NAMES
from mesh.telemetry.untraced import untraced
from operations.addresses import page_address
from operations.outbox.history import history_of, target_of
from operations.texts import moment, moment_in
from solo60.mesh.v1 import outbox_pb2 as pb
from solo60.mesh.v1.outbox_pb2_grpc import OutboxServiceStub

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from console.frame import View
    from mesh.serving.channel import Channels
    from operations.outbox.history import HistoryEntry
    from solo60.mesh.v1.outbox_pb2_grpc import OutboxServiceAsyncStub

FOLLOWED_S = 10.0
RETRY = (
    "The message is delivered now, with as many attempts as a new one. Its receiver does not repeat work that it has "
    "already done."
)
DROP = "The message is deleted and never delivered. Its effect, such as a refund or a mail, does not happen."
REPLAY = "A copy with a new id is delivered, and its receiver acts again: a mail, for example, is sent twice."


@page(PATH + "/{service}/{message_id}", "Outbox message")
async def outbox_message(view: View, service: str, message_id: str) -> None:
    """Show one message."""
    if service not in SERVICE_NAMES:
        widgets.error_state(f'"{service}" is not a service.', f"Services: {', '.join(SERVICE_NAMES)}.")
        return
    await _MessageView(view, service, message_id).draw()


class _MessageView:
    """Message that is drawn anew when it has changed after an action."""

    def __init__(self, view: View, service: str, message_id: str) -> None:
        self._view = view
        self._service = service
        self._message_id = message_id
        self._box = ui.element("div")
        self._shown: pb.GetMessageResponse | None = None
        self._following = Following(self._read_again, FOLLOWED_S)

    async def draw(self) -> None:
        """Read the message and draw it if it has changed; raise the service's error."""
        with untraced():
            answer = await self._stub(self._view.console.channels).GetMessage(
                pb.GetMessageRequest(message_id=self._message_id)
            )
        if answer == self._shown:
            return
        settings = self._view.console.settings
        history = await asyncio.to_thread(history_of, settings, self._service, answer.message)
        self._shown = answer
        self._box.clear()
        with self._box:
            self._draw_facts(answer.message)
            self._draw_actions(answer.message)
            _draw_payload(answer.payload_json)
            _draw_history(history)

    async def _read_again(self) -> None:
        try:
            await self.draw()
        except OutboxMessageNotFound:
            self._following.end()
            self._box.clear()
            with self._box:
                widgets.empty_state("The message is deleted and will not be delivered.")
        if self._shown is not None and self._shown.message.status != pb.OUTBOX_STATUS_PENDING:
            self._following.end()

    def _stub(self, channels: Channels) -> OutboxServiceAsyncStub:
        return channels.stub(OutboxServiceStub, at=self._service)

    def _draw_facts(self, message: pb.OutboxMessage) -> None:
        is_delivered = message.status == pb.OUTBOX_STATUS_DELIVERED
        correlation_id, trace_id = message.correlation_id, message.trace_id
        facts = {
            "status": partial(widgets.badge, status_name(message.status), TONES.get(message.status, "")),
            "message id": partial(widgets.mono, message.message_id),
            "from": partial(ui.link, self._service, page_address("outbox", service=self._service)),
            "to": message.destination,
            "event": message.event,
            "failed attempts": message.attempts,
            "last error": message.last_error,
            "written": moment(message.create_time.ToDatetime(UTC)),
            "next attempt, or end of the current one": moment_in(message, "due_time"),
            "delivered" if is_delivered else "given up": moment_in(message, "settle_time"),
            "aggregate key": message.aggregate_key and partial(widgets.mono, message.aggregate_key),
            "correlation id": correlation_id
            and partial(ui.link, correlation_id, page_address("logs", correlation=correlation_id)),
            "trace": trace_id and partial(ui.link, trace_id, page_address("traces", trace_id)),
        }
        widgets.fact_list(facts.items())

    def _draw_actions(self, message: pb.OutboxMessage) -> None:
        with ui.element("div").classes("actions"):
            if message.status == pb.OUTBOX_STATUS_DELIVERED:
                self._button("Replay", REPLAY, self._replay)
            else:
                self._button("Retry", RETRY, self._retry)
                self._button("Drop", DROP, self._drop)
            if OPERATE not in self._view.reader.scopes:
                ui.label(widgets.missing_scope(self._view, OPERATE)).classes("note")

    def _button(self, name: str, question: str, act: Callable[[OutboxServiceAsyncStub], Awaitable[str]]) -> None:
        async def run() -> str:
            text = await act(self._stub(self._view.console.channels_of(self._view.reader)))
            self._following.begin()
            return text

        target = target_of(self._service, self._message_id)
        widgets.action_button(self._view, name, scope=OPERATE, question=question, target=target, act=run)

    async def _retry(self, stub: OutboxServiceAsyncStub) -> str:
        await stub.RetryMessage(pb.RetryMessageRequest(message_id=self._message_id))
        return "The message is due now."

    async def _drop(self, stub: OutboxServiceAsyncStub) -> str:
        await stub.DropMessage(pb.DropMessageRequest(message_id=self._message_id))
        return "The message is deleted and will not be delivered."

    async def _replay(self, stub: OutboxServiceAsyncStub) -> str:
        answer = await stub.ReplayMessage(pb.ReplayMessageRequest(message_id=self._message_id))
        ui.navigate.to(message_path(self._service, answer.message.message_id))
        return "The copy is due now."


def _draw_payload(payload_json: str) -> None:
    widgets.heading("Request")
    if not payload_json:
        widgets.empty_state("The service does not know the contract of the destination, so it cannot show the request.")
        return
    ui.label("Personal data is masked.").classes("note")
    ui.label(json.dumps(json.loads(payload_json), indent=2, ensure_ascii=False)).classes("mono text-block")


def _draw_history(history: list[HistoryEntry]) -> None:
    widgets.heading("History")
    ui.label(
        "From the outbox, and from logs and traces that this mesh still has. A trace does not name a message: if its "
        "request wrote several messages to one method, all of their calls are listed."
    ).classes("note")
    TextTable(
        ("time", "event", "detail", "source"),
        [(time_of(each.time, milliseconds=True), each.event, each.detail, each.source) for each in history],
    )
