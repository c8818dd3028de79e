from __future__ import annotations

import asyncio
import time
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from contracts.errors import Unavailable
from contracts.services import SERVICES
from mesh.config import SettingsError
from mesh.idempotency import once
from mesh.outbox import publish
from mesh.outbox.broker import STREAM, SUBJECTS, Broker, subject_of
from mesh.outbox.envelope import seal
from mesh.outbox.message import Message, Status
from mesh.outbox.retry import GIVE_UP_AFTER_S
from services.auth import app as auth
from solo60.example.v1.echo_pb2 import OnHeardRequest, OnHeardResponse
from solo60.example.v1.events_pb2 import Heard
from tests.mesh.outbox.brokered_post import RECEIVER, count_at, taking_in
from tests.support.eventually import eventually
from tests.support.nats import NatsServer, nats_served
from tests.support.postgres import connection_to

if TYPE_CHECKING:
    from pathlib import Path

    from tests.mesh.outbox.brokered_post import BrokeredPost
    from tests.support.serving import Serve

ON_HEARD = f"{RECEIVER}/OnHeard"
SHORT_NAME = "example"


def said(text: str, place: str = "here", destination: str = ON_HEARD, age_s: float = 0.0) -> Message:
    """Make a message as the sender's outbox would."""
    request = OnHeardRequest(event=Heard(text=text, place=place))
    return Message(uuid.uuid4(), destination, request.SerializeToString(), "", place, "correlation", "", age_s=age_s)


async def say_many(post: BrokeredPost, count: int, places: int) -> None:
    """Publish events with numbers that take turns in as many places."""
    async with post.database.transaction() as connection:
        for number in range(count):
            await publish(connection, Heard(text=str(number), place=f"place {number % places}"))


async def is_published(broker: Broker, message: Message) -> bool:
    """Publish a message, and tell whether the broker has it."""
    try:
        await broker.publish(message)
    except Unavailable:
        return False
    return True


async def all_is_taken_in(post: BrokeredPost) -> bool:
    """Tell whether nothing lies at the broker."""
    try:
        return await count_at(post.broker) == 0
    except Unavailable:
        return False


async def test_messages_wait_for_a_broker_that_is_away(brokered_post: BrokeredPost, nats: NatsServer) -> None:
    """Part 3: no attempt is burned, and what was written before, during and after comes in order."""
    post = brokered_post
    await post.say("before")
    nats.kill()
    relay = post.relay()

    async with relay.running():
        await post.say("during")

        async def has_rested_twice() -> bool:
            rest = relay._rests._rests.get(ON_HEARD)
            return rest is not None and rest.failures > 1

        await eventually(has_rested_twice)
        await nats.start()
        await post.say("after")
        await post.until_nothing_pends()

    assert post.heard() == ["before", "during", "after"]
    async with post.database.connection() as connection:
        assert await connection.fetchval("select max(attempts) from outbox") == 0


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.soak)])
async def test_a_broker_that_is_killed_loses_nothing_and_repeats_no_effect(
    brokered_post: BrokeredPost, nats: NatsServer, kills: int
) -> None:
    """Part 3, T-g3: kill -9 in the middle of a thousand messages: each acts once, and in order within its aggregate."""
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
    """Tell whether the broker has said of so many that it has them."""
    async with post.database.connection() as connection:
        return bool(await connection.fetchval("select count(*) >= $1 from outbox where status = 'delivered'", count))


async def test_what_is_published_twice_lies_at_the_broker_once(nats: NatsServer) -> None:
    """T-g2: the message's id is what the broker knows it by."""
    broker, message = Broker(nats.url, "sender"), said("once")
    async with broker.running():
        for _ in range(2):
            await broker.publish(message)

        assert await count_at(broker) == 1


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


async def test_an_answer_of_the_broker_that_comes_too_late_is_no_loss(
    brokered_post: BrokeredPost, nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T-g2: what was published, and not known to be, is published again with the same id and acts once."""
    post, message = brokered_post, said("once")
    monkeypatch.setattr("mesh.outbox.broker.ANSWER_TIMEOUT_S", 0.1)
    with nats.paused(), pytest.raises(Unavailable):
        await post.broker.publish(message)
    monkeypatch.undo()
    await eventually(lambda: is_published(post.broker, message))
    await eventually(lambda: all_is_taken_in(post))
    await post.until_nothing_pends()

    assert [text for _, text, _ in post.echo.servicer.heard] == ["once"]


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
            consumers = (await post.broker.jetstream().stream_info(STREAM)).state.consumer_count
        await post.say("100", "place 0")
        await post.until_nothing_pends()

    assert consumers == 1
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
    """Wait for a consumer, and return the names of all."""
    names: list[str] = []

    async def is_there() -> bool:
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


async def test_what_is_too_large_for_the_broker_is_given_up_at_once(brokered_post: BrokeredPost) -> None:
    """T-g6: no repetition makes it smaller."""
    post = brokered_post
    await post.say("x" * 1_100_000)

    async def is_dead() -> bool:
        async with post.database.connection() as connection:
            return bool(await connection.fetchval("select status = $1 from outbox", Status.DEAD))

    async with post.relay().running():
        await eventually(is_dead)


async def test_the_stream_that_somebody_deleted_is_made_again(brokered_post: BrokeredPost) -> None:
    """Part 3: what was in it is lost, what comes after is not."""
    post = brokered_post
    await post.broker.jetstream().delete_stream(STREAM)
    await post.say("after")

    async with post.relay().running():
        await post.until_nothing_pends()

    assert post.heard() == ["after"]


async def test_a_broker_that_refuses_us_stops_the_start(tmp_path: Path) -> None:
    """T-j1: one sentence names the setting, and the password is not in it."""
    async with nats_served(tmp_path / "nats", "--user", "ada", "--pass", "right") as nats:
        good = nats.url.replace("//", "//ada:right@")
        async with Broker(good, "sender").running():
            pass
        with pytest.raises(SettingsError, match=r"^NATS_URL: the server refuses this user and password\.$"):
            async with Broker(good.replace("right", "wrong"), "sender").running():
                pass


async def test_a_stream_that_keeps_what_was_taken_stops_the_start(nats: NatsServer) -> None:
    """T-g2: from such a one everything would be taken in again each time."""
    broker = Broker(nats.url, "operator")
    async with broker.running():
        await broker.jetstream().delete_stream(STREAM)
        await broker.jetstream().add_stream(name=STREAM, subjects=[SUBJECTS])

    with pytest.raises(SettingsError, match=r"^NATS_URL: the stream solo60-outbox at that server is no work queue\.$"):
        async with Broker(nats.url, "sender").running():
            pass


async def test_a_service_starts_without_its_broker(nats: NatsServer) -> None:
    """A broker that is away delays messages, and no call that members wait for."""
    nats.kill()
    broker = Broker(nats.url, "sender")
    async with broker.running():
        with pytest.raises(Unavailable):
            await broker.publish(said("too early"))
        await nats.start()

        await eventually(lambda: is_published(broker, said("in time")))


async def test_a_service_that_cannot_take_in_does_not_start(
    serve: Serve, nats: NatsServer, empty_database_url: str
) -> None:
    """Part 3: what others leave to it would lie at the broker, and nobody would see it; who gets nothing starts."""
    mesh = await serve(outbox_transport="nats", nats_url=nats.url)
    await mesh.start(auth.SERVICE, empty_database_url)

    without_outbox = replace(auth.SERVICE, name="payment", descriptor=SERVICES["payment"])
    with pytest.raises(SettingsError, match=r"^NATS_URL: payment has no outbox to take in what others leave to it\.$"):
        await mesh.start(without_outbox, empty_database_url)
