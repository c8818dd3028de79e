from __future__ import annotations

import asyncio
from urllib.parse import urlsplit, urlunsplit

import pytest
from structlog.testing import capture_logs

import mesh.notifications
from mesh.notifications import listening
from mesh.postgres_role import SERVICE_ROLE
from tests.support.link import Link
from tests.support.ports import free_ports
from tests.support.postgres import connection_to, superuser_url_of

PATIENCE_S = 60


async def execute(url: str, statement: str) -> None:
    """Do something in the database, on a connection of its own."""
    async with connection_to(url) as connection:
        await connection.execute(statement)


async def next_of(heard: asyncio.Queue[str]) -> str:
    """Return what is heard next."""
    async with asyncio.timeout(PATIENCE_S):
        return await heard.get()


@pytest.fixture
def heard() -> asyncio.Queue[str]:
    """Hold what is heard, and "missed?" whenever something may have gone unheard."""
    return asyncio.Queue()


async def test_a_notification_is_heard_when_its_transaction_is_committed(
    empty_database_url: str, heard: asyncio.Queue[str]
) -> None:
    """What is rolled back was never said."""
    async with listening(empty_database_url, "news", heard.put_nowait, lambda: heard.put_nowait("missed?")):
        assert await next_of(heard) == "missed?"
        await execute(empty_database_url, "begin; notify news, 'rolled back'; rollback")
        await execute(empty_database_url, "notify news, 'committed'")
        assert await next_of(heard) == "committed"

    await execute(empty_database_url, "notify news, 'too late'")
    assert heard.empty()


async def test_a_lost_connection_is_replaced_and_the_gap_is_told(
    empty_database_url: str, heard: asyncio.Queue[str]
) -> None:
    """After a gap the listener knows that there was one, and hears again."""
    async with listening(empty_database_url, "news", heard.put_nowait, lambda: heard.put_nowait("missed?")):
        for _ in range(3):
            assert await next_of(heard) == "missed?"
            await execute(empty_database_url, "notify news, 'heard'")
            assert await next_of(heard) == "heard"
            await execute(
                empty_database_url,
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where datname = current_database() and application_name = 'solo60 listening to news'",
            )
        assert await next_of(heard) == "missed?"


async def test_a_database_that_lets_nobody_in_yet_is_waited_for(
    empty_database_url: str, heard: asyncio.Queue[str]
) -> None:
    """A service may start before its database is ready for it."""
    superuser_url = superuser_url_of(empty_database_url)
    await execute(superuser_url, "create role late_listener login connection limit 0")
    late = empty_database_url.replace(f"//{SERVICE_ROLE}@", "//late_listener@")
    try:
        with capture_logs() as log:
            async with listening(late, "news", heard.put_nowait, lambda: heard.put_nowait("missed?")):
                async with asyncio.timeout(PATIENCE_S):
                    while not log:  # noqa: ASYNC110 - a log tells nobody that it has grown
                        await asyncio.sleep(0.01)
                await execute(superuser_url, "alter role late_listener connection limit 1")
                assert await next_of(heard) == "missed?"
    finally:
        await execute(superuser_url, "drop role late_listener")


async def test_a_connection_that_is_about_to_be_closed_is_replaced_like_a_lost_one(
    empty_database_url: str, heard: asyncio.Queue[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server has said farewell and not closed the connection: the listener is not the last one to listen there."""
    monkeypatch.setattr(mesh.notifications, "ASK_INTERVAL_S", 0.1)
    server, (port,) = urlsplit(empty_database_url), free_ports(1)
    assert server.port is not None
    url = urlunsplit(server._replace(netloc=server.netloc.replace(str(server.port), str(port))))
    async with (
        Link(port, server.port, hangs=True),
        listening(url, "news", heard.put_nowait, lambda: heard.put_nowait("missed?")),
    ):
        assert await next_of(heard) == "missed?"
        await execute(
            superuser_url_of(empty_database_url),
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and application_name = 'solo60 listening to news'",
        )
        assert await next_of(heard) == "missed?"
