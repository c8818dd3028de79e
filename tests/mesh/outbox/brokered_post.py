"""Test post through a broker: outboxes of a sender and a receiver, with a NATS server between them."""

from __future__ import annotations

import uuid
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from nats.errors import Error

from contracts.errors import Unavailable
from mesh.outbox import publish
from mesh.outbox.broker import STREAM, Broker
from mesh.outbox.intake import Intake
from mesh.outbox.message import Message
from mesh.outbox.transport import BrokeredTransport
from mesh.serving.outbox import run_relay
from solo60.example.v1.echo_pb2 import OnHeardRequest
from solo60.example.v1.events_pb2 import Heard
from tests.mesh.outbox.post import Post
from tests.support.eventually import eventually
from tests.support.postgres import connection_to

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mesh.outbox.relay import Relay
    from tests.support.echo_server import EchoServer

RECEIVER = "solo60.example.v1.EchoService"
ON_HEARD = f"{RECEIVER}/OnHeard"
SENDER = "sender"


class BrokeredPost(Post):
    """Sender's end of a brokered post. The receiver takes in and delivers messages while the post exists."""

    receiver: Post
    receiving: Relay
    broker: Broker

    @classmethod
    @asynccontextmanager
    async def between(cls, url: str, receiver_url: str, echo: EchoServer, nats_url: str) -> AsyncIterator[BrokeredPost]:
        """Make the tables in two empty databases and start the receiver."""
        async with AsyncExitStack() as stack:
            post = await stack.enter_async_context(cls.on(url, echo))
            assert isinstance(post, BrokeredPost)
            post.receiver = await stack.enter_async_context(Post.on(receiver_url, echo))
            post.inspection = post.receiver.inspection
            post.broker = Broker(nats_url, SENDER)
            await stack.enter_async_context(post.broker.running())
            post.transport = BrokeredTransport(post.broker, SENDER, post.transport)
            post.receiving = await stack.enter_async_context(
                run_relay(post.receiver.store, receiver_url, post.receiver.transport)
            )
            await stack.enter_async_context(taking_in(post.receiver, nats_url))
            # A slow server may miss the first connection; the client then connects again.
            await eventually(lambda: all_is_taken_in(post))
            yield post

    async def hurry(self, relay: Relay) -> None:
        await super().hurry(relay)
        await self.receiver.hurry(self.receiving)

    async def count(self, status: str) -> int:
        if status == "pending":
            return await super().count(status) + await self._count_under_way() + await self.receiver.count(status)
        return await self.receiver.count(status)

    async def _count_under_way(self) -> int:
        """Count the messages that the sender has published and the receiver has not stored yet."""
        async with connection_to(self.url) as connection:
            sent = await connection.fetch("select message_id from outbox where status = 'delivered'")
        async with connection_to(self.receiver.url) as connection:
            received = await connection.fetch("select message_id from outbox")
        return len({id_ for (id_,) in sent} - {id_ for (id_,) in received})


@asynccontextmanager
async def taking_in(receiver: Post, nats_url: str) -> AsyncIterator[None]:
    """Take in messages for the receiver, on a separate connection, for the duration of the context."""
    broker = Broker(nats_url, "example")
    async with broker.running(), Intake(broker, RECEIVER, receiver.store).running():
        yield


async def count_at(broker: Broker) -> int:
    """Count the messages stored at the broker."""
    return (await broker.jetstream().stream_info(STREAM)).state.messages


def said(text: str, place: str = "here", destination: str = ON_HEARD, age_s: float = 0.0) -> Message:
    """Make a message like one from the sender's outbox."""
    request = OnHeardRequest(event=Heard(text=text, place=place))
    return Message(uuid.uuid4(), destination, request.SerializeToString(), "", place, "correlation", "", age_s=age_s)


async def is_published(broker: Broker, message: Message) -> bool:
    """Publish a message; return whether the broker accepted it."""
    try:
        await broker.publish(message)
    except Unavailable:
        return False
    return True


async def all_is_taken_in(post: BrokeredPost) -> bool:
    """Return whether the broker is reachable and holds no messages."""
    try:
        return await count_at(post.broker) == 0
    except (Unavailable, Error):
        return False


async def say_many(post: BrokeredPost, count: int, places: int) -> None:
    """Publish numbered events to `places` places in turn."""
    async with post.database.transaction() as connection:
        for number in range(count):
            await publish(connection, Heard(text=str(number), place=f"place {number % places}"))
