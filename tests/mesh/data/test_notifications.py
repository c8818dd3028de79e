from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

import mesh.data.notifications
from local.postgres.role import SERVICE_ROLE
from mesh.data.notifications import listening
from tests.support.eventually import eventually
from tests.support.postgres import execute, superuser_url_of
from tests.support.tcp_proxy import proxied

TIMEOUT_S = 60


async def next_of(received: asyncio.Queue[str]) -> str:
    """Return the next item heard."""
    async with asyncio.timeout(TIMEOUT_S):
        return await received.get()


@pytest.fixture
def received() -> asyncio.Queue[str]:
    """Make a queue for heard notifications, with "missed?" for each possible gap."""
    return asyncio.Queue()


async def test_only_committed_notifications_are_heard(empty_database_url: str, received: asyncio.Queue[str]) -> None:
    """A notification is heard once its transaction commits. A rolled-back one is never heard."""
    async with listening(empty_database_url, "news", received.put_nowait, lambda: received.put_nowait("missed?")):
        assert await next_of(received) == "missed?"
        await execute(empty_database_url, "begin; notify news, 'rolled back'; rollback")
        await execute(empty_database_url, "notify news, 'committed'")
        assert await next_of(received) == "committed"

    await execute(empty_database_url, "notify news, 'too late'")
    assert received.empty()


async def test_a_lost_connection_is_replaced_and_the_gap_is_reported(
    empty_database_url: str, received: asyncio.Queue[str]
) -> None:
    """A lost listening connection is replaced, and a possible gap in the notifications is reported."""
    async with listening(empty_database_url, "news", received.put_nowait, lambda: received.put_nowait("missed?")):
        for _ in range(3):
            assert await next_of(received) == "missed?"
            await execute(empty_database_url, "notify news, 'heard'")
            assert await next_of(received) == "heard"
            await execute(
                empty_database_url,
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where datname = current_database() and application_name = 'solo60 listening to news'",
            )
        assert await next_of(received) == "missed?"


async def test_a_listener_waits_for_its_database(empty_database_url: str, received: asyncio.Queue[str]) -> None:
    """A listener waits for a database that does not accept its connection yet."""
    superuser_url = superuser_url_of(empty_database_url)
    await execute(superuser_url, "create role late_listener login connection limit 0")
    late = empty_database_url.replace(f"//{SERVICE_ROLE}@", "//late_listener@")
    try:
        with capture_logs() as log:
            async with listening(late, "news", received.put_nowait, lambda: received.put_nowait("missed?")):
                await eventually(lambda: bool(log))
                await execute(superuser_url, "alter role late_listener connection limit 1")
                assert await next_of(received) == "missed?"
    finally:
        await execute(superuser_url, "drop role late_listener")


async def test_a_connection_that_the_server_terminated_is_replaced(
    empty_database_url: str, received: asyncio.Queue[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listening connection that the server has terminated, but not closed, is replaced."""
    monkeypatch.setattr(mesh.data.notifications, "CHECK_INTERVAL_S", 0.1)
    async with (
        proxied(empty_database_url, hangs=True) as (_, url),
        listening(url, "news", received.put_nowait, lambda: received.put_nowait("missed?")),
    ):
        assert await next_of(received) == "missed?"
        await execute(
            superuser_url_of(empty_database_url),
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and application_name = 'solo60 listening to news'",
        )
        assert await next_of(received) == "missed?"
