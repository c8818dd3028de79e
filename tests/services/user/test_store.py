from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from contracts.errors import EmailTaken
from services.user.domain import DEFAULT_ROLES, Profile, User
from services.user.store import UserStore

if TYPE_CHECKING:
    from mesh.data.database import Database
    from tests.support.postgres import DatabaseOpener

NOW = datetime(2026, 1, 14, 12, tzinfo=UTC)
WAITING = "select exists (select from pg_locks where not granted)"


@pytest.fixture
async def database(open_database: DatabaseOpener) -> Database:
    """Connect to a user database on which no service runs."""
    return await open_database("user")


async def add_user(store: UserStore, email: str) -> User:
    """Add a user."""
    async with store.transaction() as tx:
        return await store.add(tx, Profile(email, "Ada", DEFAULT_ROLES, "UTC"), NOW)


def with_address(user: User, email: str) -> User:
    """Return the user with another address."""
    return replace(user, profile=replace(user.profile, email=email))


@pytest.mark.requirement("S4")
async def test_a_concurrently_taken_address_is_rejected_without_naming_it(database: Database) -> None:
    """A change that waits for a concurrent change to the same address fails with EMAIL_TAKEN.

    The error has no cause, because a cause would contain the address.
    """
    store = UserStore(database)
    first, second = await add_user(store, "first@example.org"), await add_user(store, "second@example.org")

    async def move(user: User) -> None:
        async with store.transaction() as tx:
            await store.save(tx, with_address(user, "wanted@example.org"))

    async with store.transaction() as tx:
        await store.save(tx, with_address(first, "WANTED@example.org"))
        loser = asyncio.create_task(move(second))
        async with database.connection() as observer:
            while not await observer.fetchval(WAITING):
                assert not loser.done()

    with pytest.raises(EmailTaken) as refusal:
        await loser
    assert refusal.value.__suppress_context__
    assert refusal.value.__cause__ is None
