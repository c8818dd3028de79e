"""Definition of the communication service: the servicer, and the sender in the background."""

from __future__ import annotations

import random
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from interceptors.metrics.registry import metrics_of
from mesh.config import SettingsError
from mesh.periodic import repeating
from mesh.serving.service import Service
from mesh.telemetry.current import current_registry
from services.communication.domain import RETENTION
from services.communication.drafts import Drafts
from services.communication.mail import parse_mailboxes
from services.communication.mail_server import MailServer
from services.communication.mail_template import TEMPLATES, Templates
from services.communication.metrics import MailMetrics
from services.communication.preferences.http import http_app
from services.communication.preferences.links import UnsubscribeLinks
from services.communication.preferences.store import PreferenceStore
from services.communication.sender import Sender
from services.communication.servicer import CommunicationServicer
from services.communication.store import MessageStore
from solo60.communication.v1.communication_pb2 import AUDIENCE_ADMINS, AUDIENCE_OPERATORS, DESCRIPTOR
from solo60.communication.v1.communication_pb2_grpc import add_CommunicationServiceServicer_to_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mesh.serving.service import Runtime
    from services.communication.mail import Mailbox

DELETE_INTERVAL_S = 3600.0
BACKLOG_INTERVAL_S = 5.0
# Health entry while there are dead messages that an operator can retry.
DEAD_MAIL_TROUBLE = "some mail could not be sent (see: solo60 messages list)"
FOLDER = Path(__file__).parent


@asynccontextmanager
async def open_communication(runtime: Runtime) -> AsyncIterator[CommunicationServicer]:
    """Yield the servicer while the sender runs; raise SettingsError for an invalid setting or template."""
    settings, store = runtime.settings, MessageStore(runtime.database)
    mail_from = _mailboxes("MAIL_FROM", settings.mail_from)[0]
    audiences = {
        AUDIENCE_ADMINS: _mailboxes("ADMINS_EMAIL", settings.admins_email),
        AUDIENCE_OPERATORS: _mailboxes("OPERATORS_EMAIL", settings.operators_email),
    }
    server = _mail_server(settings.mail_server_url.get_secret_value())
    metrics = metrics_of(current_registry(), MailMetrics)
    sender = Sender(
        store,
        server,
        envelope_sender=mail_from.email,
        metrics=metrics,
        troubles=runtime.troubles,
        now=runtime.now,
        rng=random.SystemRandom(),
    )
    templates, links = load_templates(TEMPLATES), UnsubscribeLinks.of(settings)
    runtime.timers["mails"] = store.next_due_time
    with runtime.clock.on_move(sender.wake):
        async with _background_tasks(store, metrics, runtime), sender.running():
            yield CommunicationServicer(
                store,
                PreferenceStore(runtime.database),
                sender,
                Drafts(templates, links, mail_from),
                audiences=audiences,
                links=links,
                now=runtime.now,
            )


@asynccontextmanager
async def _background_tasks(store: MessageStore, metrics: MailMetrics, runtime: Runtime) -> AsyncIterator[None]:
    """Delete old messages, and report waiting and dead messages in metrics and health, until the context ends."""

    async def delete_old() -> None:
        await store.delete_old(runtime.now() - RETENTION)

    async def set_backlog() -> None:
        backlog = await store.backlog(runtime.now())
        metrics.set_backlog(backlog)
        if backlog.dead:
            runtime.troubles.add(DEAD_MAIL_TROUBLE)
        else:
            runtime.troubles.discard(DEAD_MAIL_TROUBLE)

    async with (
        repeating("deleting old messages", delete_old, DELETE_INTERVAL_S, runtime.clock.sleep),
        repeating("counting messages", set_backlog, BACKLOG_INTERVAL_S),
    ):
        yield


def _mailboxes(setting: str, text: str) -> tuple[Mailbox, ...]:
    try:
        return parse_mailboxes(text)
    except ValueError:
        raise SettingsError(f'{setting}: must be an address such as "Solo60 <mail@solo60.example>".') from None


@cache
def load_templates(folder: Path) -> Templates:
    """Return the templates in a folder, read once; raise SettingsError if one is invalid."""
    try:
        return Templates(folder)
    except ValueError as error:
        raise SettingsError(str(error)) from None


def _mail_server(url: str) -> MailServer:
    try:
        return MailServer.from_url(url)
    except ValueError:
        raise SettingsError('SMTP_URL: must be "smtp://host:port" or "smtps://user:password@host:port".') from None


SERVICE = Service(
    name="communication",
    descriptor=DESCRIPTOR.services_by_name["CommunicationService"],
    add_to_server=add_CommunicationServiceServicer_to_server,
    open=open_communication,
    migrations=FOLDER / "migrations",
    http=http_app,
)
