from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg

from tests.support.postgres import SERVICES, Contents

if TYPE_CHECKING:
    from tests.support.postgres import PostgresForTests

LEDGER = SERVICES / "payment" / "migrations"


async def test_a_released_database_is_reset_to_its_migrations(postgres: PostgresForTests) -> None:
    """A released database is acquired again without the rows and the open connections of the earlier test."""
    url = await postgres.acquire(LEDGER)
    fresh = await Contents.of(url)
    careless = await asyncpg.connect(url)
    await careless.execute("insert into accounts (kind, currency) values ('income', 'EUR')")
    used = await Contents.of(url)
    await asyncio.to_thread(postgres.release, (LEDGER, url))

    again = await postgres.acquire(LEDGER)

    assert again == url
    assert await Contents.of(again) == fresh != used
    assert careless.is_closed()
    await asyncio.to_thread(postgres.release, (LEDGER, again))
