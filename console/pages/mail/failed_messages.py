"""Failed messages of the communication service, with retries, for readers with a key that may operate the service."""

from __future__ import annotations

from datetime import UTC
from functools import partial
from typing import TYPE_CHECKING

from nicegui import ui

from console import widgets
from console.following import Following
from contracts.errors import ServiceError
from operations.addresses import page_address
from operations.mail.messages import RETRYABLE, retry_failed
from operations.texts import counted
from solo60.communication.v1 import communication_pb2 as pb
from solo60.communication.v1.communication_pb2_grpc import CommunicationServiceStub

if TYPE_CHECKING:
    from collections.abc import Callable

    from console.frame import View
    from solo60.communication.v1.communication_pb2_grpc import CommunicationServiceAsyncStub

# The contract has no smaller scope for the list.
OPERATE = "communication.operate"
PAGE_SIZE = 20
FOLLOWED_S = 5.0
TONES = {pb.MESSAGE_STATUS_SENT: "good", pb.MESSAGE_STATUS_DEAD: "bad", pb.MESSAGE_STATUS_FAILED: "warn"}
RETRY = "The message is sent now, with as many attempts as a new one."
IN_DOUBT = " It may have been sent already, so it may arrive twice, with the same Message-ID."
RETRY_ALL = (
    "All messages that failed or were given up are sent now. Messages that may have been sent already are skipped: "
    "retry them one by one."
)


class FailedMessages:
    """Section with the failed messages, drawn anew when they have changed after a retry."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._box = ui.element("div")
        self._shown: pb.ListFailedMessagesResponse | None = None
        self._following = Following(self.draw, FOLLOWED_S)

    async def draw(self) -> None:
        """Read the messages with the reader's key, and draw them if they have changed."""
        if OPERATE not in self._view.reader.scopes:
            with self._box:
                ui.label(f"{widgets.missing_scope(self._view, OPERATE)} It also allows retries.").classes("note")
            return
        request = pb.ListFailedMessagesRequest(page_size=PAGE_SIZE, page_token=self._view.query("failed"))
        try:
            found = await stub_of_reader(self._view).ListFailedMessages(request)
        except ServiceError as error:
            self._box.clear()
            with self._box:
                widgets.service_error(error)
            return
        if found != self._shown:
            self._shown = found
            self._box.clear()
            with self._box:
                self._draw(found)

    def _draw(self, found: pb.ListFailedMessagesResponse) -> None:
        if not found.messages:
            widgets.empty_state("No message has failed.", "A message that the mail server rejects is listed here.")
            return
        widgets.table(
            ("stored", "template", "status", "attempts", "last error", "action"),
            [
                (
                    partial(widgets.time_cell, each.create_time.ToDatetime(UTC)),
                    partial(ui.link, each.template_key, message_path(each.message_id)),
                    partial(status_badge, each.status),
                    each.attempts,
                    each.last_error,
                    partial(self._retry_button, each),
                )
                for each in found.messages
            ],
        )
        with ui.element("div").classes("actions"):
            self._retry_all_button()
            if found.next_page_token:
                ui.link("Older messages", page_address("mail", failed=found.next_page_token)).classes("older")

    def _retry_button(self, message: pb.Message) -> None:
        if message.status in RETRYABLE:
            retry_button(self._view, message, self._following.begin)

    def _retry_all_button(self) -> None:
        async def act() -> str:
            count, skipped = await retry_failed(stub_of_reader(self._view))
            self._following.begin()
            return f"{counted(count, 'message')} queued, {skipped} skipped."

        widgets.action_button(
            self._view, "Retry all failed messages", scope=OPERATE, question=RETRY_ALL, target="communication", act=act
        )


def retry_button(view: View, message: pb.Message, after: Callable[[], None]) -> None:
    """Show a button that retries a message. `after` runs when the message is queued."""

    async def act() -> str:
        await stub_of_reader(view).RetryMessage(pb.RetryMessageRequest(message_id=message.message_id))
        after()
        return "The message is queued."

    question = RETRY + (IN_DOUBT if message.may_have_been_sent else "")
    target = f"communication/{message.message_id}"
    widgets.action_button(view, "Retry", scope=OPERATE, question=question, target=target, act=act)


def status_badge(status: pb.MessageStatus.ValueType) -> None:
    """Show the status of a message."""
    widgets.badge(pb.MessageStatus.Name(status).removeprefix("MESSAGE_STATUS_"), TONES.get(status, ""))


def message_path(message_id: str) -> str:
    """Return the path of the page of a message."""
    return page_address("mail", "messages", message_id)


def stub_of_reader(view: View) -> CommunicationServiceAsyncStub:
    """Return a stub with the reader's key; raise SettingsError for a reader without one."""
    return view.console.channels_of(view.reader).stub(CommunicationServiceStub)
