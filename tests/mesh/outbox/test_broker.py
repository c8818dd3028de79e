from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from nats.aio.client import Client

from contracts.errors import Unavailable
from mesh.config import SettingsError
from mesh.outbox.broker import STREAM, SUBJECTS, Broker
from mesh.outbox.message import DeliveryStatus
from tests.mesh.outbox.brokered_outbox_fixture import count_in_stream, event_message, is_stream_empty, try_publish
from tests.support.eventually import eventually
from tests.support.nats import NatsServer, run_nats

if TYPE_CHECKING:
    from pathlib import Path

    from tests.mesh.outbox.brokered_outbox_fixture import BrokeredOutboxFixture


async def test_a_message_published_twice_is_stored_once(nats: NatsServer) -> None:
    """A message that is published twice is stored once, because the broker deduplicates by message id."""
    broker, message = Broker(nats.url, "sender"), event_message("once")
    async with broker.running():
        for _ in range(2):
            await broker.publish(message)

        assert await count_in_stream(broker) == 1


async def test_a_late_answer_of_the_broker_loses_no_message(
    brokered_outbox: BrokeredOutboxFixture, nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the broker answers too late, the message is published again with the same id and acts once."""
    outbox, message = brokered_outbox, event_message("once")
    monkeypatch.setattr("mesh.outbox.broker.RESPONSE_TIMEOUT_S", 0.1)
    with nats.paused(), pytest.raises(Unavailable):
        await outbox.broker.publish(message)
    monkeypatch.undo()
    await eventually(lambda: try_publish(outbox.broker, message))
    await eventually(lambda: is_stream_empty(outbox))
    await outbox.until_settled()

    assert [text for _, text, _ in outbox.echo.servicer.heard] == ["once"]


async def test_publishing_over_a_lost_connection_does_not_wait_forever(nats: NatsServer) -> None:
    """Publishing over a lost connection fails within 30 s, and works again once the broker is back."""
    broker = Broker(nats.url, "sender")
    async with broker.running():
        sending = [asyncio.create_task(try_publish(broker, event_message("x" * 100_000))) for _ in range(50)]
        await asyncio.sleep(0)
        nats.kill()
        async with asyncio.timeout(30):
            assert not any(await asyncio.gather(*sending))
        await nats.start()
        await eventually(lambda: try_publish(broker, event_message("after")))


async def test_a_client_that_closes_without_a_callback_is_replaced(nats: NatsServer) -> None:
    """A broker client that closes itself without calling back is replaced."""
    broker = Broker(nats.url, "sender")
    async with broker.running():
        assert broker._client is not None
        await broker._client._close(Client.CLOSED, do_cbs=False)

        await eventually(lambda: try_publish(broker, event_message("after")))


async def test_a_message_too_large_for_the_broker_is_given_up(brokered_outbox: BrokeredOutboxFixture) -> None:
    """A message that is too large for the broker is a dead letter at once, because no retry makes it smaller."""
    outbox = brokered_outbox
    await outbox.publish_event("x" * 1_100_000)

    async def outcome() -> tuple[str, int]:
        async with outbox.database.connection() as connection:
            row = await connection.fetchrow("select status, attempts from outbox")
        assert row is not None
        return row["status"], row["attempts"]

    async def is_attempted() -> bool:
        return await outcome() != (DeliveryStatus.PENDING, 0)

    async with outbox.relay().running():
        await eventually(is_attempted)
    assert await outcome() == (DeliveryStatus.DEAD, 1)


async def test_a_deleted_stream_is_created_again(brokered_outbox: BrokeredOutboxFixture) -> None:
    """A deleted stream is created again, and the messages that follow are delivered."""
    outbox = brokered_outbox
    await outbox.broker.jetstream().delete_stream(STREAM)
    await outbox.publish_event("after")

    async with outbox.relay().running():
        await outbox.until_settled()

    assert outbox.heard() == ["after"]


async def test_a_full_broker_rejects_new_messages(nats: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full stream rejects new messages and drops no stored ones. An operator may change the limits of the stream."""
    # After a timeout the broker could have stored a message that the test counts as rejected.
    monkeypatch.setattr("mesh.outbox.broker.RESPONSE_TIMEOUT_S", 60.0)
    broker = Broker(nats.url, "sender")
    async with broker.running():
        info = await broker.jetstream().stream_info(STREAM)
        await broker.jetstream().update_stream(info.config.evolve(max_bytes=10_000))
        accepted = [await try_publish(broker, event_message("x" * 1_000)) for _ in range(20)]

        assert await count_in_stream(broker) == sum(accepted)
        assert 0 < sum(accepted) < 20
        assert accepted == sorted(accepted, reverse=True)


async def test_wrong_broker_credentials_stop_the_start(tmp_path: Path) -> None:
    """Wrong credentials for the broker stop the start with an error that names NATS_URL."""
    async with run_nats(tmp_path / "nats", "--user", "ada", "--pass", "right") as nats:
        good = nats.url.replace("//", "//ada:right@")
        async with Broker(good, "sender").running():
            pass
        with pytest.raises(SettingsError, match=r"^NATS_URL: the server rejects this user and password\.$"):
            async with Broker(good.replace("right", "wrong"), "sender").running():
                pass


async def test_a_stream_that_is_not_a_work_queue_stops_the_start(nats: NatsServer) -> None:
    """A stream that is not a work queue stops the start, because it would deliver its messages again each time."""
    broker = Broker(nats.url, "operator")
    async with broker.running():
        await broker.jetstream().delete_stream(STREAM)
        await broker.jetstream().add_stream(name=STREAM, subjects=[SUBJECTS])

    with pytest.raises(SettingsError, match=r"^NATS_URL: the stream solo60-outbox must have work queue retention\.$"):
        async with Broker(nats.url, "sender").running():
            pass


async def test_a_service_starts_without_its_broker(nats: NatsServer) -> None:
    """A sender starts without its broker and publishes once the broker is back."""
    nats.kill()
    broker = Broker(nats.url, "sender")
    async with broker.running():
        with pytest.raises(Unavailable):
            await broker.publish(event_message("too early"))
        await nats.start()

        await eventually(lambda: try_publish(broker, event_message("in time")))
