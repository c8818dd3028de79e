from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mesh.data.idempotency import once
from solo60.example.v1.echo_pb2 import OnHeardRequest, OnHeardResponse
from solo60.example.v1.events_pb2 import Heard
from tests.mesh.outbox.brokered_post import ON_HEARD, say_many
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from tests.mesh.outbox.brokered_post import BrokeredPost
    from tests.support.nats import NatsServer


async def test_messages_wait_for_an_unavailable_broker(brokered_post: BrokeredPost, nats: NatsServer) -> None:
    """While the broker is down, messages wait without using up attempts. Afterwards they are delivered in order."""
    post = brokered_post
    await post.say("before")
    nats.kill()
    relay = post.relay()

    async with relay.running():
        await post.say("during")

        async def was_paused_twice() -> bool:
            pause = relay._pauses._pauses.get(ON_HEARD)
            return pause is not None and pause.failures > 1

        await eventually(was_paused_twice)
        await nats.start()
        await post.say("after")
        await post.until_nothing_pends()

    assert post.heard() == ["before", "during", "after"]
    async with post.database.connection() as connection:
        assert await connection.fetchval("select max(attempts) from outbox") == 0


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.soak)])
async def test_a_killed_broker_loses_no_message_and_repeats_no_effect(
    brokered_post: BrokeredPost, nats: NatsServer, kills: int
) -> None:
    """Although the broker is killed repeatedly, each of 1,000 messages acts once.

    They stay in order within their aggregate.
    """
    post, count, places = brokered_post, 1_000, 50

    async def act_once() -> None:
        place, text, _ = post.echo.servicer.heard[-1]
        request = OnHeardRequest(event=Heard(text=text, place=place))
        async with post.receiver.database.transaction() as connection:

            async def act() -> OnHeardResponse:
                await connection.execute("insert into ledger values ($1)", int(text))
                return OnHeardResponse()

            await once(connection, request, act, OnHeardResponse)

    post.echo.servicer.hook = act_once  # type: ignore[method-assign]

    async with post.relay(seed=1).running(), post.relay(seed=2).running():
        await say_many(post, count, places)
        for kill in range(kills):
            part = count * (kill + 1) // (kills + 2)
            await eventually(lambda part=part: has_published(post, part))  # type: ignore[misc]
            nats.kill()
            await nats.start()
        await post.until_nothing_pends()

    async with post.receiver.database.connection() as connection:
        assert await connection.fetchval("select count(*) from ledger") == count
    assert await post.count("dead") == 0
    for place in range(places):
        texts = [int(text) for text in post.heard(f"place {place}")]
        assert texts == list(range(place, count, places))


async def has_published(post: BrokeredPost, count: int) -> bool:
    """Return whether the broker has confirmed at least `count` messages."""
    async with post.database.connection() as connection:
        return bool(await connection.fetchval("select count(*) >= $1 from outbox where status = 'delivered'", count))
