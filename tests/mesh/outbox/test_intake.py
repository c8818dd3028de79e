from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from nats.errors import Error

from contracts.errors import Unavailable
from mesh.outbox.broker import STREAM, subject_of
from mesh.outbox.envelope import seal
from mesh.outbox.message import Status
from mesh.outbox.retry import GIVE_UP_AFTER_S
from tests.mesh.outbox.brokered_post import all_is_taken_in, is_published, said, say_many, taking_in
from tests.support.eventually import eventually
from tests.support.postgres import connection_to

if TYPE_CHECKING:
    from tests.mesh.outbox.brokered_post import BrokeredPost
    from tests.support.nats import NatsServer

SHORT_NAME = "example"


async def test_what_the_broker_has_forgotten_the_receiver_knows(brokered_post: BrokeredPost, nats: NatsServer) -> None:
    """T-g2: a repetition that comes after the broker's window, here by its restart, is stored once too."""
    post, message = brokered_post, said("once")
    await post.broker.publish(message)
    await eventually(lambda: all_is_taken_in(post))
    nats.kill()
    await nats.start()
    await eventually(lambda: all_is_taken_in(post))

    last = said("last")
    for each in (message, last):
        await eventually(lambda each=each: is_published(post.broker, each))  # type: ignore[misc]
    await post.until_nothing_pends()
    await eventually(lambda: all_is_taken_in(post))

    stored = await post.inspection.list(None, None, 10, before=None)
    assert [each.message.message_id for each in stored] == [last.message_id, message.message_id]


async def test_what_was_stored_but_not_acknowledged_is_not_stored_again(brokered_post: BrokeredPost) -> None:
    """T-g2: a receiver that dies between its commit and its word to the broker gets the message once more."""
    post, message = brokered_post, said("once")
    await post.receiver.store.receive([message])

    await post.broker.publish(message)
    await eventually(lambda: all_is_taken_in(post))
    await post.until_nothing_pends()

    assert [text for _, text, _ in post.echo.servicer.heard] == ["once"]


async def test_what_could_not_be_stored_stays_at_the_broker(brokered_post: BrokeredPost) -> None:
    """Part 3: it is acknowledged after the commit, which here never comes: its connection is cut."""
    post, message = brokered_post, said("stored at the second try")
    (consumer,) = await until_somebody_takes_in(post)

    async def is_being_stored() -> bool:
        info = await post.broker.jetstream().consumer_info(STREAM, consumer)
        return bool(info.num_ack_pending)

    async with connection_to(post.receiver.url) as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("lock table outbox in share mode")
        await post.broker.publish(message)
        await eventually(is_being_stored)
        await eventually(lambda: is_cut(post.receiver.url))
        await transaction.rollback()
    await eventually(lambda: all_is_taken_in(post))
    await post.until_nothing_pends()

    assert post.heard() == ["stored at the second try"]


async def is_cut(url: str) -> bool:
    """Cut the connections that wait for a lock, and tell whether there was one."""
    async with connection_to(url) as connection:
        return bool(
            await connection.fetchval(
                "select count(pg_terminate_backend(pid)) from pg_stat_activity"
                " where datname = current_database() and wait_event_type = 'Lock' and query like '%insert into outbox%'"
            )
        )


async def test_processes_of_one_service_take_turns(brokered_post: BrokeredPost, nats: NatsServer) -> None:
    """T-g3: one takes in at a time, so that no other overtakes it, and when it ends another does."""
    post = brokered_post
    async with post.relay().running():
        async with taking_in(post.receiver, nats.url), taking_in(post.receiver, nats.url):
            await say_many(post, 100, places=1)
            await post.until_nothing_pends()
            # None for a moment, where the one that took in has lost its place.
            consumers = await until_somebody_takes_in(post)
        await post.say("100", "place 0")
        await post.until_nothing_pends()

    assert len(consumers) == 1
    assert post.heard("place 0") == [str(number) for number in range(101)]


async def test_a_process_that_vanishes_is_replaced(brokered_post: BrokeredPost) -> None:
    """T-g5: what it had in its hands begins again with whoever comes next; here the broker forgets who that was."""
    post, stream = brokered_post, brokered_post.broker.jetstream()
    (consumer,) = await until_somebody_takes_in(post)
    await stream.delete_consumer(STREAM, consumer)

    await post.broker.publish(said("taken by the next"))
    await eventually(lambda: all_is_taken_in(post))
    await post.until_nothing_pends()

    assert post.heard() == ["taken by the next"]


async def test_what_gets_lost_on_the_way_is_not_overtaken(brokered_post: BrokeredPost) -> None:
    """T-g3: where one is missing among what comes, all from there on is asked for again; here somebody stole it."""
    post, stream = brokered_post, brokered_post.broker.jetstream()
    (consumer,) = await until_somebody_takes_in(post)
    thief = await stream.pull_subscribe_bind(consumer, stream=STREAM)
    stealing: asyncio.Task[object] = asyncio.create_task(thief.fetch(1, timeout=30))
    texts = [str(number) for number in range(20)]

    async def is_stolen() -> bool:
        await post.broker.publish(said(texts.pop(0)))
        return stealing.done()

    await eventually(is_stolen)
    for text in texts:
        await post.broker.publish(said(text))
    await eventually(lambda: all_is_taken_in(post))
    await post.until_nothing_pends()

    assert post.heard() == [str(number) for number in range(20)]


async def until_somebody_takes_in(post: BrokeredPost) -> list[str]:
    """Wait for a consumer, and return the names of all; a broker that does not answer in time is asked again."""
    names: list[str] = []

    async def is_there() -> bool:
        with suppress(Unavailable, Error):
            names[:] = [each.name for each in await post.broker.jetstream().consumers_info(STREAM)]
        return bool(names)

    await eventually(is_there)
    return names


async def test_what_is_not_for_the_service_is_not_taken_in(brokered_post: BrokeredPost) -> None:
    """S3: who can write to the broker cannot make a service call another one, nor stop it by what makes no sense."""
    post, stream = brokered_post, brokered_post.broker.jetstream()
    foreign = said("foreign", destination="solo60.payment.v1.PaymentService/ChargeSession")

    unstorable = replace(said("unstorable"), event="\0")

    for content in (b"\xff", b"", seal(foreign, time.time()), seal(unstorable, time.time())):
        await stream.publish(subject_of(SHORT_NAME), content)
    await post.broker.publish(said("good"))
    await eventually(lambda: all_is_taken_in(post))
    await post.until_nothing_pends()

    assert post.heard() == ["good"]
    assert len(await post.inspection.list(None, None, 10, before=None)) == 1


async def test_a_message_does_not_become_young_on_its_way(brokered_post: BrokeredPost) -> None:
    """T-f6, T-g2: what is six days old may be acted upon twice when it is repeated, whatever way it came."""
    post = brokered_post

    async def be_of_no_use() -> None:
        raise Unavailable

    post.echo.servicer.hook = be_of_no_use  # type: ignore[method-assign]
    await post.broker.publish(said("old", age_s=GIVE_UP_AFTER_S + 1))
    await eventually(lambda: all_is_taken_in(post))
    await post.until_nothing_pends()

    (dead,) = await post.inspection.list(Status.DEAD, None, 2, before=None)
    assert dead.last_error.startswith("Not delivered within its time.")
