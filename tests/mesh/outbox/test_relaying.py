from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from mesh.database import DatabaseUnavailable
from mesh.outbox.relaying import relaying
from tests.support.eventually import eventually
from tests.support.postgres import connection_to

if TYPE_CHECKING:
    import pytest

    from tests.mesh.outbox.post import Post

NEVER_S = 3_600.0
END_LISTENER = """
    select pg_terminate_backend(pid) from pg_stat_activity
    where datname = current_database() and application_name = 'solo60 listening to outbox'
"""


async def test_a_committed_message_wakes_the_relay(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    """T-g7: nobody has to look: the database tells, whoever wrote."""
    monkeypatch.setattr("mesh.outbox.relay.POLL_S", NEVER_S)
    async with relaying(post.store, post.url, post.transport):
        for number in range(3):
            await post.say(str(number))
            await post.until_nothing_pends()

    assert post.heard() == ["0", "1", "2"]


async def test_a_relay_whose_connection_was_cut_is_told_again(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    """T-g7: what was written while nobody listened is delivered as soon as somebody listens again."""
    monkeypatch.setattr("mesh.outbox.relay.POLL_S", NEVER_S)

    async def listener_is_cut() -> bool:
        async with connection_to(post.url) as connection:
            return bool(await connection.fetchval(END_LISTENER))

    async with relaying(post.store, post.url, post.transport):
        await eventually(listener_is_cut)
        await post.say("nobody hears this")
        await post.until_nothing_pends()


async def test_a_relay_that_nobody_tells_looks_by_itself(post: Post) -> None:
    """T-g7: a lost notification costs a second."""
    async with post.relay().running():
        await post.say("unannounced")
        await post.until_nothing_pends()

    assert post.heard() == ["unannounced"]


async def say_in_the_end(post: Post, text: str) -> None:
    """Publish, again where the connection was cut under it: twice, where only the answer was lost."""
    while True:
        with suppress(DatabaseUnavailable):
            return await post.say(text, place=text)


async def test_a_relay_outlives_its_connections(post: Post) -> None:
    """A1: connections that are cut, in the middle of whatever it did, cost it nothing but time."""
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
