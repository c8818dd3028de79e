"""Sender in its own process, for tests that kill the process: python -m ...killed_sender DATABASE_URL SMTP_URL."""

from __future__ import annotations

import asyncio
import random
import sys
from datetime import UTC, datetime

from prometheus_client import REGISTRY

from interceptors.metrics.registry import metrics_of
from mesh.data.database import Database
from services.communication.mail_server import MailServer
from services.communication.metrics import MailMetrics
from services.communication.sender import Sender
from services.communication.store import MessageStore
from tests.services.communication.mail_fixture import SENDER


async def send_for_ever(database_url: str, smtp_url: str) -> None:
    """Send due messages like the service, until the process is killed."""
    sender = Sender(
        MessageStore(await Database.connect(database_url)),
        MailServer.from_url(smtp_url),
        envelope_sender=SENDER.email,
        troubles=set(),
        metrics=metrics_of(REGISTRY, MailMetrics),
        now=lambda: datetime.now(UTC),
        rng=random.SystemRandom(),
    )
    async with sender.running():
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(send_for_ever(*sys.argv[1:]))
