"""Page `/outbox`: backlog and schedule of each service, dead letters by reason, and the newest messages."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING

from nicegui import ui

from console import widgets
from console.filter_form import FilterField, FilterForm, choice
from console.frame import page
from console.pages.outbox.table import HEADINGS, NOTE, NUMBERS, no_answer, rows_of
from console.text_table import Cell, TextTable, time_of
from contracts.names import short_name
from contracts.scopes import outbox_calls
from contracts.services import SERVICE_NAMES
from mesh.outbox.message import DeliveryStatus
from mesh.telemetry.untraced import untraced
from operations.addresses import page_address
from operations.outbox.backlog import OutboxState
from operations.outbox.messages import page_of_messages, retry_dead_letters
from operations.texts import counted
from solo60.mesh.v1 import outbox_pb2 as pb
from solo60.mesh.v1.outbox_pb2_grpc import OutboxServiceStub

if TYPE_CHECKING:
    from collections.abc import Mapping

    from console.frame import View
    from contracts.errors import ServiceError
    from operations.outbox.messages import MessagePage

PATH = "/outbox"
OPERATE = "outbox.operate"
PAGE_SIZE = 50
REFRESH_S = 2.0
TONES = {pb.OUTBOX_STATUS_DELIVERED: "good", pb.OUTBOX_STATUS_DEAD: "bad"}


@page(PATH, "Outbox")
async def outbox(view: View) -> None:
    """Show all outboxes. The counts follow the services; the list of messages is that of the visit."""
    view.console.outboxes.begin()
    messages = await _read_messages(view)
    states = await view.console.outboxes.get()
    table = TextTable(HEADINGS, rows_of(states), NUMBERS)
    ui.label(NOTE).classes("note")
    widgets.heading("Dead letters")
    letters = _DeadLetters(view)
    letters.show(states)

    async def refresh() -> None:
        states = await view.console.outboxes.get()
        table.show(rows_of(states))
        letters.show(states)

    ui.timer(REFRESH_S, refresh)
    widgets.heading("Messages")
    _draw_messages(view, messages)


class _DeadLetters:
    """Groups of dead letters, drawn anew only when they have changed."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._box = ui.element("div")
        self._shown: tuple[list[tuple[str, pb.DeadLetters]], bool] | None = None

    def show(self, states: Mapping[str, OutboxState | ServiceError]) -> None:
        """Show the groups of all services that answered."""
        found = [
            (name, group)
            for name, state in states.items()
            if isinstance(state, OutboxState)
            for group in state.backlog.dead_letters
        ]
        is_complete = all(isinstance(state, OutboxState) for state in states.values())
        if (found, is_complete) == self._shown:
            return
        self._shown = found, is_complete
        self._box.clear()
        with self._box:
            self._draw(found, is_complete=is_complete)

    def _draw(self, found: list[tuple[str, pb.DeadLetters]], *, is_complete: bool) -> None:
        if not found:
            place = "" if is_complete else " in the outboxes that answered"
            widgets.empty_state(
                f"There are no dead letters{place}.", "A message that cannot be delivered is listed here."
            )
            return
        TextTable(
            ("service", "to, and reason", "messages", "latest given up"),
            [
                (
                    Cell(name, page_address("outbox", service=name, status=DeliveryStatus.DEAD)),
                    Cell(
                        short_name(group.destination), _path_of_dead(name, group.destination), notes=[group.last_error]
                    ),
                    group.count,
                    time_of(group.latest_settle_time.ToDatetime(UTC)),
                )
                for name, group in found
            ],
        )
        with ui.element("div").classes("actions"):
            for name in dict.fromkeys(name for name, _ in found):
                self._retry_button(name)
            if OPERATE not in self._view.reader.scopes:
                ui.label(widgets.missing_scope(self._view, OPERATE)).classes("note")

    def _retry_button(self, name: str) -> None:
        async def act() -> str:
            stub = self._view.console.channels_of(self._view.reader).stub(OutboxServiceStub, at=name)
            count = await retry_dead_letters(stub)
            return f"{counted(count, 'message')} of {name} due now."

        widgets.action_button(
            self._view,
            f"Retry all of {name}",
            scope=OPERATE,
            question=f"All dead letters of {name} are delivered again, with as many attempts as new messages. Their "
            "receivers do not repeat work that they have already done.",
            target=name,
            act=act,
        )


def _path_of_dead(service: str, destination: str) -> str:
    return page_address("outbox", service=service, status=DeliveryStatus.DEAD, destination=destination)


async def _read_messages(view: View) -> MessagePage | None:
    """Return the messages that meet the filters in the address, or None if a filter is invalid."""
    service, status = view.query("service"), view.query("status")
    if service not in ("", *SERVICE_NAMES) or status not in ("", *DeliveryStatus):
        return None
    wanted = pb.ListMessagesRequest(destination=view.query("destination"))
    if status:
        wanted.status = pb.OutboxStatus.Value(f"OUTBOX_STATUS_{status.upper()}")
    names = [service] if service else list(SERVICE_NAMES)
    with untraced():
        return await page_of_messages(view.console.channels, names, wanted, PAGE_SIZE, view.query("page"))


def _draw_messages(view: View, found: MessagePage | None) -> None:
    service, status, destination = view.query("service"), view.query("status"), view.query("destination")
    methods = [(name, short_name(name)) for name in sorted(set(outbox_calls()), key=short_name)]
    FilterForm(
        PATH,
        [
            choice("service", "Service", service, SERVICE_NAMES),
            choice("status", "Status", status, map(str, DeliveryStatus), "any"),
            FilterField("destination", "Destination", destination, options=[("", "any"), *methods], size="wide"),
        ],
    )
    if found is None:
        widgets.error_state("There is no such service or status.", f"Services: {', '.join(SERVICE_NAMES)}.")
        return
    _list(found)
    if found.next_cursor:
        query = {"service": service, "status": status, "destination": destination, "page": found.next_cursor}
        ui.link("Older messages", page_address("outbox", **query)).classes("older")


def _list(found: MessagePage) -> None:
    for name, error in found.failures.items():
        with ui.element("p").classes("row-line"):
            widgets.badge(f"{name} is missing", "bad")
            ui.label(no_answer(error)).classes("note")
    if not found.messages:
        place = " in the outboxes that answered" if found.failures else ""
        widgets.empty_state(f"There are no messages{place}.", "Delivered messages are deleted after a day.")
        return
    TextTable(
        ("written", "service", "to", "status", "due or settled"),
        [
            (
                time_of(message.create_time.ToDatetime(UTC)),
                name,
                _link(name, message),
                _status(message),
                _due_or_settled(message),
            )
            for name, message in found.messages
        ],
    )


def _link(service: str, message: pb.OutboxMessage) -> Cell:
    event = f"event {message.event.rpartition('.')[2]}" if message.event else ""
    notes = [text for text in (event, message.last_error) if text]
    return Cell(short_name(message.destination), message_path(service, message.message_id), notes)


def _status(message: pb.OutboxMessage) -> Cell:
    notes = [counted(message.attempts, "failed attempt")] if message.attempts else []
    return Cell(status_name(message.status), is_badge=True, tone=TONES.get(message.status, ""), notes=notes)


def message_path(service: str, message_id: str) -> str:
    """Return the path of the page of a message."""
    return page_address("outbox", service, message_id)


def status_name(status: pb.OutboxStatus.ValueType) -> str:
    """Return the name of a delivery status: "DEAD"."""
    return pb.OutboxStatus.Name(status).removeprefix("OUTBOX_STATUS_")


def _due_or_settled(message: pb.OutboxMessage) -> Cell:
    return time_of((message.due_time if message.HasField("due_time") else message.settle_time).ToDatetime(UTC))
