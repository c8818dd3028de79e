from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from nats.aio.client import Client

from contracts.errors import Unavailable
from contracts.services import SERVICES
from mesh.config import SettingsError
from mesh.outbox.broker import STREAM, SUBJECTS, Broker
from mesh.outbox.message import Status
from services.auth import app as auth
from tests.mesh.outbox.brokered_post import all_is_taken_in, count_at, is_published, said
from tests.support.eventually import eventually
from tests.support.nats import NatsServer, nats_served

if TYPE_CHECKING:
    from pathlib import Path

    from tests.mesh.outbox.brokered_post import BrokeredPost
    from tests.support.serving import Serve


async def test_what_is_published_twice_lies_at_the_broker_once(nats: NatsServer) -> None:
    """T-g2: the message's id is what the broker knows it by."""
    broker, message = Broker(nats.url, "sender"), said("once")
    async with broker.running():
        for _ in range(2):
            await broker.publish(message)

        assert await count_at(broker) == 1


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


async def test_who_sends_more_than_a_lost_connection_takes_does_not_wait_for_ever(nats: NatsServer) -> None:
    """Part 3: what is not known to have arrived is sent again, by way of the next connection."""
    broker = Broker(nats.url, "sender")
    async with broker.running():
        sending = [asyncio.create_task(is_published(broker, said("x" * 100_000))) for _ in range(50)]
        await asyncio.sleep(0)
        nats.kill()
        async with asyncio.timeout(30):
            assert not any(await asyncio.gather(*sending))
        await nats.start()
        await eventually(lambda: is_published(broker, said("after")))


async def test_a_connection_whose_loss_nobody_tells_is_made_anew(nats: NatsServer) -> None:
    """Part 3: the client closes itself, and calls nobody back where it was sending at that moment."""
    broker = Broker(nats.url, "sender")
    async with broker.running():
        assert broker._client is not None
        await broker._client._close(Client.CLOSED, do_cbs=False)

        await eventually(lambda: is_published(broker, said("after")))


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


async def test_a_full_broker_leaves_messages_where_they_are(nats: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Part 3: it drops nothing to take something new, and the limits of a stream are its operator's."""
    # After a timeout the broker could have stored a message that the test counts as rejected.
    monkeypatch.setattr("mesh.outbox.broker.ANSWER_TIMEOUT_S", 60.0)
    broker = Broker(nats.url, "sender")
    async with broker.running():
        info = await broker.jetstream().stream_info(STREAM)
        await broker.jetstream().update_stream(info.config.evolve(max_bytes=10_000))
        accepted = [await is_published(broker, said("x" * 1_000)) for _ in range(20)]

        assert await count_at(broker) == sum(accepted)
        assert 0 < sum(accepted) < 20
        assert accepted == sorted(accepted, reverse=True)


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
