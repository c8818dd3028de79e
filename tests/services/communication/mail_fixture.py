"""Test environment of the sender: a message store, and senders that share it, its clock and its random generator."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from interceptors.metrics.registry import metrics_of
from services.communication.domain import NewMessage
from services.communication.mail import Mailbox, compose, message_id_header
from services.communication.mail_server import ATTEMPT_TIMEOUT_S, MailServer
from services.communication.mail_template import Text
from services.communication.metrics import MailMetrics
from services.communication.preferences.domain import Category
from services.communication.sender import Sender

if TYPE_CHECKING:
    import random

    from mesh.data.database import Database
    from services.communication.domain import Message
    from services.communication.store import MessageStore

ADA, BOB = "ada@example.org", "bob@example.org"
USER_ID = uuid.UUID(int=1)
SENDER = Mailbox.of("no-reply@solo60.example")
START = datetime(2026, 3, 3, 18, tzinfo=UTC)


@dataclass
class Clock:
    """Clock that only the test advances."""

    time: datetime = START

    def now(self) -> datetime:
        """Return the current time."""
        return self.time

    def advance(self, by: timedelta) -> None:
        """Advance the clock."""
        self.time += by


@dataclass
class MailFixture:
    """Message store, with the clock, the random generator and the metrics that its senders share."""

    url: str
    database: Database
    store: MessageStore
    rng: random.Random
    clock: Clock = field(default_factory=Clock)
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    troubles: set[str] = field(default_factory=set)

    def new_sender(self, url: str, *, timeout_s: float = ATTEMPT_TIMEOUT_S) -> Sender:
        """Return a sender to the mail server at `url`."""
        return Sender(
            self.store,
            replace(MailServer.from_url(url), timeout_s=timeout_s),
            envelope_sender=SENDER.email,
            metrics=metrics_of(self.registry, MailMetrics),
            troubles=self.troubles,
            now=self.clock.now,
            rng=self.rng,
        )

    async def add(
        self,
        *recipients: str,
        repeats_in_doubt: bool = True,
        lifetime: timedelta | None = None,
        user_id: uuid.UUID | None = USER_ID,
        category: Category | None = Category.BOOKINGS,
    ) -> uuid.UUID:
        """Store a message, by default to Ada, about a booking."""
        message_id = uuid.uuid4()
        mailboxes = tuple(Mailbox.of(email) for email in recipients or (ADA,))
        header = message_id_header(message_id, SENDER)
        text = Text("Hello", "Dear Ada Lovelace\n", "<p>Dear Ada Lovelace</p>\n")
        mail = compose(text, sender=SENDER, recipients=mailboxes, email_message_id=header, create_time=self.clock.now())
        emails = tuple(each.email for each in mailboxes)
        new = NewMessage(
            message_id,
            "SESSION_BOOKED",
            emails,
            mail,
            header,
            "correlation-1",
            "",
            self.clock.now(),
            repeats_in_doubt=repeats_in_doubt,
            expire_time=self.clock.now() + lifetime if lifetime else None,
            user_id=user_id,
            category=category,
        )
        async with self.store.transaction() as tx:
            await self.store.add(tx, new)
        return message_id

    async def advance_to_due(self, message_id: uuid.UUID) -> Message:
        """Advance the clock until the message is due, and return the message."""
        message = await self.store.find(message_id)
        assert message.due_time is not None
        self.clock.time = max(self.clock.time, message.due_time)
        return message


async def send_next(sender: Sender) -> bool:
    """Make one attempt to send the message that has been due longest; return False if none is due."""
    attempt = await sender._store.claim(sender._now())
    if attempt is None:
        return False
    await sender._run_attempt(attempt)
    return True
