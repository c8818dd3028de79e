from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest
from nats.errors import Error

from contracts.errors import Unavailable
from mesh.outbox.broker import STREAM, subject_of
from mesh.outbox.envelope import encode_envelope
from mesh.outbox.message import DeliveryStatus
from mesh.outbox.retry import GIVE_UP_AFTER_S
from tests.mesh.outbox.brokered_outbox_fixture import (
    event_message,
    is_stream_empty,
    run_intake,
    try_publish,
)
from tests.mesh.outbox.outbox_fixture import publish_many
from tests.support.eventually import eventually
from tests.support.postgres import connection_to

if TYPE_CHECKING:
    from tests.mesh.outbox.brokered_outbox_fixture import BrokeredOutboxFixture
    from tests.support.nats import NatsServer

SHORT_NAME = "example"


async def test_a_repetition_that_the_broker_misses_is_stored_once(
    brokered_outbox: BrokeredOutboxFixture, nats: NatsServer
) -> None:
    """The receiver stores a repeated message once, even if the broker has restarted and does not recognise it."""
    outbox, message = brokered_outbox, event_message("once")
    await outbox.broker.publish(message)
    await eventually(lambda: is_stream_empty(outbox))
    nats.kill()
    await nats.start()
    await eventually(lambda: is_stream_empty(outbox))

    last = event_message("last")
    for each in (message, last):
        await eventually(partial(try_publish, outbox.broker, each))
    await outbox.until_settled()
    await eventually(lambda: is_stream_empty(outbox))

    stored = await outbox.administration.list(None, None, 10, before=None)
    assert [each.message.message_id for each in stored] == [last.message_id, message.message_id]


async def test_a_stored_but_unacknowledged_message_is_not_stored_again(brokered_outbox: BrokeredOutboxFixture) -> None:
    """A message that was stored but not acknowledged is not stored again and acts once.

    A receiver causes such a repetition if it dies between its commit and its acknowledgement.
    """
    outbox, message = brokered_outbox, event_message("once")
    await outbox.receiver.store.receive([message])

    await outbox.broker.publish(message)
    await eventually(lambda: is_stream_empty(outbox))
    await outbox.until_settled()

    assert [text for _, text, _ in outbox.echo.servicer.heard] == ["once"]


async def test_a_message_that_could_not_be_stored_stays_at_the_broker(brokered_outbox: BrokeredOutboxFixture) -> None:
    """A message is acknowledged after its commit, so one that could not be stored is delivered again.

    The test terminates the database connection before the commit.
    """
    outbox, message = brokered_outbox, event_message("stored at the second try")
    (consumer,) = await wait_for_consumer(outbox)

    async def is_being_stored() -> bool:
        info = await outbox.broker.jetstream().consumer_info(STREAM, consumer)
        return bool(info.num_ack_pending)

    async with connection_to(outbox.receiver.url) as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("lock table outbox in share mode")
        await outbox.broker.publish(message)
        await eventually(is_being_stored)
        await eventually(lambda: is_cut(outbox.receiver.url))
        await transaction.rollback()
    await eventually(lambda: is_stream_empty(outbox))
    await outbox.until_settled()

    assert outbox.heard() == ["stored at the second try"]


async def is_cut(url: str) -> bool:
    """Terminate the connections that wait for a lock to insert; return whether there was one."""
    async with connection_to(url) as connection:
        return bool(
            await connection.fetchval(
                "select count(pg_terminate_backend(pid)) from pg_stat_activity"
                " where datname = current_database() and wait_event_type = 'Lock' and query like '%insert into outbox%'"
            )
        )


async def test_only_one_process_of_a_service_takes_in_at_a_time(
    brokered_outbox: BrokeredOutboxFixture, nats: NatsServer
) -> None:
    """Only one process of a service takes in messages at a time, so that they stay in order.

    When that process ends, another one takes over.
    """
    outbox = brokered_outbox
    async with outbox.relay().running():
        async with run_intake(outbox.receiver, nats.url), run_intake(outbox.receiver, nats.url):
            await publish_many(outbox, 100, places=1)
            await outbox.until_settled()
            # There is no consumer for a moment while one replaces another.
            consumers = await wait_for_consumer(outbox)
        await outbox.publish_event("100", "place 0")
        await outbox.until_settled()

    assert len(consumers) == 1
    assert outbox.heard("place 0") == [str(number) for number in range(101)]


async def test_a_vanished_consumer_is_replaced(brokered_outbox: BrokeredOutboxFixture) -> None:
    """If the broker loses its consumer, a new consumer takes in the messages."""
    outbox, stream = brokered_outbox, brokered_outbox.broker.jetstream()
    (consumer,) = await wait_for_consumer(outbox)
    await stream.delete_consumer(STREAM, consumer)

    await outbox.broker.publish(event_message("taken by the next"))
    await eventually(lambda: is_stream_empty(outbox))
    await outbox.until_settled()

    assert outbox.heard() == ["taken by the next"]


async def test_a_message_lost_in_transit_is_not_overtaken(brokered_outbox: BrokeredOutboxFixture) -> None:
    """If a message is missing in the sequence, all messages from there on are requested again in order.

    The test steals a message from the consumer.
    """
    outbox, stream = brokered_outbox, brokered_outbox.broker.jetstream()
    (consumer,) = await wait_for_consumer(outbox)
    thief = await stream.pull_subscribe_bind(consumer, stream=STREAM)
    stealing: asyncio.Task[object] = asyncio.create_task(thief.fetch(1, timeout=30))
    texts = [str(number) for number in range(20)]

    async def is_stolen() -> bool:
        await outbox.broker.publish(event_message(texts.pop(0)))
        return stealing.done()

    await eventually(is_stolen)
    for text in texts:
        await outbox.broker.publish(event_message(text))
    await eventually(lambda: is_stream_empty(outbox))
    await outbox.until_settled()

    assert outbox.heard() == [str(number) for number in range(20)]


async def wait_for_consumer(outbox: BrokeredOutboxFixture) -> list[str]:
    """Wait for a consumer; return the names of all consumers."""
    names: list[str] = []

    async def is_there() -> bool:
        with suppress(Unavailable, Error):
            names[:] = [each.name for each in await outbox.broker.jetstream().consumers_info(STREAM)]
        return bool(names)

    await eventually(is_there)
    return names


@pytest.mark.requirement("S3")
async def test_messages_for_other_services_are_not_taken_in(brokered_outbox: BrokeredOutboxFixture) -> None:
    """Messages that are malformed or meant for another service are dropped and do not stop the intake."""
    outbox, stream = brokered_outbox, brokered_outbox.broker.jetstream()
    foreign = event_message("foreign", destination="solo60.payment.v1.PaymentService/ChargeSession")

    unstorable = replace(event_message("unstorable"), event="\0")

    for content in (b"\xff", b"", encode_envelope(foreign, time.time()), encode_envelope(unstorable, time.time())):
        await stream.publish(subject_of(SHORT_NAME), content)
    await outbox.broker.publish(event_message("good"))
    await eventually(lambda: is_stream_empty(outbox))
    await outbox.until_settled()

    assert outbox.heard() == ["good"]
    assert len(await outbox.administration.list(None, None, 10, before=None)) == 1


async def test_the_age_of_a_message_includes_its_time_at_the_broker(brokered_outbox: BrokeredOutboxFixture) -> None:
    """The age of a message includes its time at the broker, so that it is given up at the right time.

    A later repetition might act twice.
    """
    outbox = brokered_outbox

    async def fail() -> None:
        raise Unavailable

    outbox.echo.servicer.hook = fail
    await outbox.broker.publish(event_message("old", age_s=GIVE_UP_AFTER_S + 1))
    await eventually(lambda: is_stream_empty(outbox))
    await outbox.until_settled()

    (dead,) = await outbox.administration.list(DeliveryStatus.DEAD, None, 2, before=None)
    assert dead.last_error.startswith("Not delivered in time.")
