"""Communication service: stores mail, and sends it with the mesh's own sender in the background."""

# No `from __future__ import annotations`: FastAPI evaluates annotations at run time.

import random
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from pydantic import BaseModel

from bench.booking.plain.application import SETTINGS, State, application, now
from services.communication.domain import NewMessage
from services.communication.mail import Mailbox, compose, message_id_header
from services.communication.mail_server import MailServer
from services.communication.mail_template import TEMPLATES, Templates
from services.communication.metrics import MailMetrics
from services.communication.sender import Sender
from services.communication.store import MessageStore

SENDER = Mailbox.of("no-reply@solo60.example", "Solo60")


class Email(BaseModel):
    """Request of POST /emails."""

    email: str
    name: str
    template_key: str
    variables: dict[str, str]


class Queued(BaseModel):
    """Response of POST /emails."""

    message_id: uuid.UUID


def make() -> FastAPI:
    """Return the communication service, with the mesh's own sender in the background."""
    templates = Templates(TEMPLATES)

    @asynccontextmanager
    async def sending(state: State) -> AsyncIterator[None]:
        sender = Sender(
            MessageStore(state.database),
            MailServer.from_url(SETTINGS.smtp_url),
            envelope_sender=SENDER.email,
            metrics=MailMetrics(CollectorRegistry()),
            troubles=set(),
            now=now,
            rng=random.SystemRandom(),
        )
        state.wake = sender.wake
        async with sender.running():
            yield

    app, state = application(sending)

    async def queue(request: Email) -> Queued:
        store, create_time, message_id = MessageStore(state.database), now(), uuid.uuid4()
        template = templates.find(request.template_key)
        header = message_id_header(message_id, SENDER)
        mail = compose(
            template.fill(request.variables),
            sender=SENDER,
            recipients=(Mailbox.of(request.email, request.name),),
            email_message_id=header,
            create_time=create_time,
        )
        new = NewMessage(
            message_id=message_id,
            template_key=request.template_key,
            recipients=(request.email,),
            mail=mail,
            email_message_id=header,
            correlation_id="",
            traceparent="",
            create_time=create_time,
            repeats_in_doubt=template.repeats_in_doubt,
            expire_time=template.expire_time(create_time),
        )
        async with store.transaction() as tx:
            await store.add(tx, new)
        state.wake()
        return Queued(message_id=message_id)

    app.post("/emails")(queue)
    return app
