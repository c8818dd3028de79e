from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from mesh.transaction import Transaction
from solo60.example.v1.echo_pb2 import OnHeardRequest, OnHeardResponse
from solo60.example.v1.events_pb2 import Heard
from tests.mesh.outbox.brokered_outbox_fixture import ON_HEARD
from tests.mesh.outbox.outbox_fixture import publish_many
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from tests.mesh.outbox.brokered_outbox_fixture import BrokeredOutboxFixture
    from tests.support.nats import NatsServer


async def test_messages_wait_for_an_unavailable_broker(
    brokered_outbox: BrokeredOutboxFixture, nats: NatsServer
) -> None:
    """While the broker is down, messages wait without using up attempts, and are then delivered in order."""
    outbox = brokered_outbox
    await outbox.publish_event("before")
    nats.kill()
    relay = outbox.relay()

    async with relay.running():
        await outbox.publish_event("during")

        async def was_paused_twice() -> bool:
            pause = relay._pauses._pauses.get(ON_HEARD)
            return pause is not None and pause.failures > 1

        await eventually(was_paused_twice)
        await nats.start()
        await outbox.publish_event("after")
        await outbox.until_settled()

    assert outbox.heard() == ["before", "during", "after"]
    async with outbox.database.connection() as connection:
        assert await connection.fetchval("select max(attempts) from outbox") == 0


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.soak)])
async def test_a_killed_broker_loses_no_message_and_repeats_no_effect(
    brokered_outbox: BrokeredOutboxFixture, nats: NatsServer, kills: int
) -> None:
    """Although the broker is killed repeatedly, each of 1,000 messages acts once.

    The messages of each aggregate stay in order.
    """
    outbox, count, places = brokered_outbox, 1_000, 50

    async def act_once() -> None:
        place, text, _ = outbox.echo.servicer.heard[-1]
        request = OnHeardRequest(event=Heard(text=text, place=place))
        async with Transaction.begin(outbox.receiver.database) as tx:
            await tx.once(request, OnHeardResponse, partial(add_to_ledger, tx, int(text)))

    outbox.echo.servicer.hook = act_once

    async with outbox.relay(seed=1).running(), outbox.relay(seed=2).running():
        await publish_many(outbox, count, places)
        for kill in range(kills):
            part = count * (kill + 1) // (kills + 2)
            await eventually(partial(has_published, outbox, part))
            nats.kill()
            await nats.start()
        await outbox.until_settled()

    async with outbox.receiver.database.connection() as connection:
        assert await connection.fetchval("select count(*) from ledger") == count
    assert await outbox.count("dead") == 0
    for place in range(places):
        texts = [int(text) for text in outbox.heard(f"place {place}")]
        assert texts == list(range(place, count, places))


async def add_to_ledger(tx: Transaction, number: int) -> OnHeardResponse:
    """Add a number to the receiver's ledger, which rejects a second row with the same number."""
    await tx.connection.execute("insert into ledger values ($1)", number)
    return OnHeardResponse()


async def has_published(outbox: BrokeredOutboxFixture, count: int) -> bool:
    """Return whether the broker has confirmed at least `count` messages."""
    async with outbox.database.connection() as connection:
        return bool(await connection.fetchval("select count(*) >= $1 from outbox where status = 'delivered'", count))
