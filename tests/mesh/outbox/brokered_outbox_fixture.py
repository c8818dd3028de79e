"""Outbox fixture with a broker: outboxes of a sender and a receiver, with a NATS server between them."""

from __future__ import annotations

import uuid
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from nats.errors import Error

from contracts.errors import Unavailable
from mesh.outbox.broker import STREAM, Broker
from mesh.outbox.intake import Intake
from mesh.outbox.message import OutboxMessage
from mesh.outbox.transport import BrokeredTransport
from mesh.serving.outbox import run_relay
from solo60.example.v1.echo_pb2 import OnHeardRequest
from solo60.example.v1.events_pb2 import Heard
from tests.mesh.outbox.outbox_fixture import OutboxFixture
from tests.support.eventually import eventually
from tests.support.postgres import connection_to

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mesh.outbox.relay import Relay
    from tests.support.echo_server import EchoServer

RECEIVER = "solo60.example.v1.EchoService"
ON_HEARD = f"{RECEIVER}/OnHeard"
SENDER = "sender"


class BrokeredOutboxFixture(OutboxFixture):
    """Sender's outbox. The receiver stores and delivers messages while this object exists."""

    receiver: OutboxFixture
    receiver_relay: Relay
    broker: Broker

    @classmethod
    @asynccontextmanager
    async def open_brokered(
        cls, url: str, receiver_url: str, echo: EchoServer, nats_url: str
    ) -> AsyncIterator[BrokeredOutboxFixture]:
        """Open an outbox in each of two databases of the mesh and start the receiver."""
        async with AsyncExitStack() as stack:
            outbox = await stack.enter_async_context(cls.open(url, echo))
            assert isinstance(outbox, BrokeredOutboxFixture)
            outbox.receiver = await stack.enter_async_context(OutboxFixture.open(receiver_url, echo))
            outbox.administration = outbox.receiver.administration
            outbox.broker = Broker(nats_url, SENDER)
            await stack.enter_async_context(outbox.broker.running())
            outbox.transport = BrokeredTransport(outbox.broker, SENDER, outbox.transport)
            outbox.receiver_relay = await stack.enter_async_context(
                run_relay(outbox.receiver.store, receiver_url, outbox.receiver.transport)
            )
            await stack.enter_async_context(run_intake(outbox.receiver, nats_url))
            # A slow server may miss the first connection; the client then connects again.
            await eventually(lambda: is_stream_empty(outbox))
            yield outbox

    async def make_due(self, relay: Relay) -> None:
        await super().make_due(relay)
        await self.receiver.make_due(self.receiver_relay)

    async def count(self, status: str) -> int:
        if status == "pending":
            return await super().count(status) + await self._count_in_transit() + await self.receiver.count(status)
        return await self.receiver.count(status)

    async def _count_in_transit(self) -> int:
        """Count the messages that the sender has published and the receiver has not stored yet."""
        async with connection_to(self.url) as connection:
            sent = await connection.fetch("select message_id from outbox where status = 'delivered'")
        async with connection_to(self.receiver.url) as connection:
            received = await connection.fetch("select message_id from outbox")
        return len({id_ for (id_,) in sent} - {id_ for (id_,) in received})


@asynccontextmanager
async def run_intake(receiver: OutboxFixture, nats_url: str) -> AsyncIterator[None]:
    """Take in messages for the receiver, on a separate connection, for the duration of the context."""
    broker = Broker(nats_url, "example")
    async with broker.running(), Intake(broker, RECEIVER, receiver.store).running():
        yield


async def count_in_stream(broker: Broker) -> int:
    """Count the messages stored at the broker."""
    return (await broker.jetstream().stream_info(STREAM)).state.messages


def event_message(text: str, place: str = "here", destination: str = ON_HEARD, age_s: float = 0.0) -> OutboxMessage:
    """Make a message like one from the sender's outbox."""
    request = OnHeardRequest(event=Heard(text=text, place=place))
    return OutboxMessage(
        uuid.uuid4(), destination, request.SerializeToString(), "", place, "correlation", "", age_s=age_s
    )


async def try_publish(broker: Broker, message: OutboxMessage) -> bool:
    """Publish a message; return whether the broker accepted it."""
    try:
        await broker.publish(message)
    except Unavailable:
        return False
    return True


async def is_stream_empty(outbox: BrokeredOutboxFixture) -> bool:
    """Return whether the broker is reachable and holds no messages."""
    try:
        return await count_in_stream(outbox.broker) == 0
    except (Unavailable, Error):
        return False
