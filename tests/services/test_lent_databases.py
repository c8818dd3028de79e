from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg

from tests.support.postgres import SERVICES, Contents

if TYPE_CHECKING:
    from tests.support.postgres import PostgresForTests

LEDGER = SERVICES / "payment" / "migrations"


async def test_a_lent_database_is_as_its_migrations_left_it(postgres: PostgresForTests) -> None:
    """No test meets the rows of another one, whose connections may even be open still."""
    url = await postgres.lend(LEDGER)
    fresh = await Contents.of(url)
    careless = await asyncpg.connect(url)
    await careless.execute("insert into accounts (kind, currency) values ('income', 'EUR')")
    used = await Contents.of(url)
    await asyncio.to_thread(postgres.give_back, (LEDGER, url))

    again = await postgres.lend(LEDGER)

    assert again == url
    assert await Contents.of(again) == fresh != used
    assert careless.is_closed()
    await asyncio.to_thread(postgres.give_back, (LEDGER, again))
