from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from grpc.aio import insecure_channel

from mesh.database import DatabaseUnavailable
from mesh.outbox import call_later
from mesh.outbox.relaying import relaying
from mesh.outbox.transport import DirectTransport
from solo60.example.v1.echo_pb2 import KeepRequest
from tests.support.eventually import eventually
from tests.support.postgres import connection_to

if TYPE_CHECKING:
    from tests.mesh.outbox.post import Post

HEARD = "solo60.example.v1.EchoService/OnHeard"
NEVER_S = 3_600.0
END_LISTENER = """
    select pg_terminate_backend(pid) from pg_stat_activity
    where datname = current_database() and application_name = 'solo60 listening to outbox'
"""


async def test_a_committed_message_wakes_the_relay(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has to look: the database tells, whoever wrote."""
    monkeypatch.setattr("mesh.outbox.relay.POLL_S", NEVER_S)
    async with relaying(post.store, post.url, post.transport):
        for number in range(3):
            await post.say(str(number))
            await post.until_nothing_pends()

    assert post.heard() == ["0", "1", "2"]


async def test_a_relay_whose_connection_was_cut_is_told_again(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written while nobody listened is delivered as soon as somebody listens again."""
    monkeypatch.setattr("mesh.outbox.relay.POLL_S", NEVER_S)

    async def listener_is_cut() -> bool:
        async with connection_to(post.url) as connection:
            return bool(await connection.fetchval(END_LISTENER))

    async with relaying(post.store, post.url, post.transport):
        await eventually(listener_is_cut)
        await post.say("nobody hears this")
        await post.until_nothing_pends()


async def test_a_relay_that_nobody_tells_looks_by_itself(post: Post) -> None:
    """A lost notification costs a second."""
    async with post.relay().running():
        await post.say("unannounced")
        await post.until_nothing_pends()

    assert post.heard() == ["unannounced"]


async def say_in_the_end(post: Post, text: str) -> None:
    """Publish, again where the connection was cut under it: twice, where only the answer was lost."""
    while True:
        with suppress(DatabaseUnavailable):
            return await post.say(text, place=text)


@pytest.mark.requirement("A1")
async def test_a_relay_outlives_its_connections(post: Post) -> None:
    """Connections that are cut, in the middle of whatever it did, cost it nothing but time."""
    async with post.relay().running():
        for number in range(20):
            await say_in_the_end(post, str(number))
            async with connection_to(post.url) as connection:
                await connection.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity"
                    " where datname = current_database() and usename = current_user and pid <> pg_backend_pid()"
                )
        async with connection_to(post.url) as connection:
            # What was leased over a connection that broke before it answered waits for the end of the lease.
            await connection.execute("update outbox set due_time = now() where status = 'pending'")
        await post.until_nothing_pends()

    assert {text for _, text, _ in post.echo.servicer.heard} == {str(number) for number in range(20)}


async def test_a_dead_receiver_does_not_hold_up_others(post: Post) -> None:
    """Its messages wait, however many they are, and what is for others goes."""
    channels = {HEARD: post.echo.channel()}
    nowhere = insecure_channel("127.0.0.1:1")
    async with post.database.transaction() as connection:
        for _ in range(300):
            await call_later(connection, post.echo.stub().Keep, KeepRequest(text="to a dead one"))
    await post.say("to a living one")

    class ByDestination:
        """Two receivers, one of which is dead."""

        def __init__(self) -> None:
            self._living = DirectTransport(lambda _service: channels[HEARD])
            self._dead = DirectTransport(lambda _service: nowhere)

        async def deliver(self, message):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            await (self._living if message.destination == HEARD else self._dead).deliver(message)

    async def living_one_has_heard() -> bool:
        return post.heard() == ["to a living one"]

    async with post.relay(ByDestination()).running():
        await eventually(living_one_has_heard)

    assert await post.count("pending") == 300
    await nowhere.close()
