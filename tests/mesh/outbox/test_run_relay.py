from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from grpc.aio import insecure_channel

from mesh.data.database import DatabaseUnavailable
from mesh.outbox.transport import DirectTransport
from mesh.serving.outbox import run_relay
from solo60.example.v1.echo_pb2 import KeepRequest
from tests.support.eventually import eventually
from tests.support.postgres import connection_to

if TYPE_CHECKING:
    from mesh.outbox.message import OutboxMessage
    from tests.mesh.outbox.outbox_fixture import OutboxFixture

HEARD = "solo60.example.v1.EchoService/OnHeard"
NEVER_S = 3_600.0
END_LISTENER = """
    select pg_terminate_backend(pid) from pg_stat_activity
    where datname = current_database() and application_name = 'solo60 listening to outbox'
"""


async def test_a_committed_message_wakes_the_relay(outbox: OutboxFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A committed message wakes the relay, so that it delivers without polling."""
    monkeypatch.setattr("mesh.outbox.relay.POLL_S", NEVER_S)
    async with run_relay(outbox.store, outbox.url, outbox.transport):
        for number in range(3):
            await outbox.publish_event(str(number))
            await outbox.until_settled()

    assert outbox.heard() == ["0", "1", "2"]


async def test_a_move_of_the_clock_wakes_the_relay(outbox: OutboxFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relay delivers calls of a later day when the clock moves to it, without polling and in the order of time."""
    monkeypatch.setattr("mesh.outbox.relay.POLL_S", NEVER_S)
    keep = outbox.echo.stub().Keep
    async with run_relay(outbox.store, outbox.url, outbox.transport):
        async with outbox.transaction() as tx:
            for days in (7, 3):
                at = outbox.clock.now() + timedelta(days=days)
                await tx.call_later(keep, KeepRequest(text=f"day {days}"), at=at)
        outbox.clock.advance(timedelta(days=2))
        assert await outbox.count("pending") == 2

        outbox.clock.advance(timedelta(days=1))
        await eventually(lambda: outbox.echo.servicer.entered == 1)
        outbox.clock.advance(timedelta(days=5))
        await outbox.until_settled()

    assert outbox.echo.servicer.entered == 2


async def test_a_relay_recovers_from_a_cut_listening_connection(
    outbox: OutboxFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relay replaces a cut listening connection and delivers messages written meanwhile, without polling."""
    monkeypatch.setattr("mesh.outbox.relay.POLL_S", NEVER_S)

    async def listener_is_cut() -> bool:
        async with connection_to(outbox.url) as connection:
            return bool(await connection.fetchval(END_LISTENER))

    async with run_relay(outbox.store, outbox.url, outbox.transport):
        await eventually(listener_is_cut)
        await outbox.publish_event("nobody hears this")
        await outbox.until_settled()


async def test_a_relay_without_notifications_polls(outbox: OutboxFixture) -> None:
    """A relay without notifications finds a message by polling."""
    async with outbox.relay().running():
        await outbox.publish_event("unannounced")
        await outbox.until_settled()

    assert outbox.heard() == ["unannounced"]


async def publish_with_retries(outbox: OutboxFixture, text: str) -> None:
    """Publish an event, and retry after a lost connection, which may publish it twice if only the answer was lost."""
    while True:
        with suppress(DatabaseUnavailable):
            return await outbox.publish_event(text, place=text)


@pytest.mark.requirement("A1")
async def test_a_relay_survives_cut_connections(outbox: OutboxFixture) -> None:
    """A relay delivers every message even if its database connections are cut at any point."""
    async with outbox.relay().running():
        for number in range(20):
            await publish_with_retries(outbox, str(number))
            async with connection_to(outbox.url) as connection:
                await connection.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity"
                    " where datname = current_database() and usename = current_user and pid <> pg_backend_pid()"
                )
        async with connection_to(outbox.url) as connection:
            # A lease that was taken over a connection that broke before its answer would have to expire first.
            await connection.execute("update outbox set due_time = now() where status = 'pending'")
        await outbox.until_settled()

    assert {text for _, text, _ in outbox.echo.servicer.heard} == {str(number) for number in range(20)}


async def test_a_dead_receiver_does_not_delay_others(outbox: OutboxFixture) -> None:
    """Three hundred messages for a dead receiver do not delay a message for another receiver."""
    channels = {HEARD: outbox.echo.channel()}
    nowhere = insecure_channel("127.0.0.1:1")
    async with outbox.transaction() as tx:
        for _ in range(300):
            await tx.call_later(outbox.echo.stub().Keep, KeepRequest(text="to the dead receiver"))
    await outbox.publish_event("to the running receiver")

    class TransportByDestination:
        """Transport to two receivers, one of them dead."""

        def __init__(self) -> None:
            self._running = DirectTransport(lambda _service: channels[HEARD])
            self._dead = DirectTransport(lambda _service: nowhere)

        async def deliver(self, message: OutboxMessage) -> None:
            await (self._running if message.destination == HEARD else self._dead).deliver(message)

    async def other_is_delivered() -> bool:
        return outbox.heard() == ["to the running receiver"]

    async with outbox.relay(TransportByDestination()).running():
        await eventually(other_is_delivered)

    assert await outbox.count("pending") == 300
    await nowhere.close()
