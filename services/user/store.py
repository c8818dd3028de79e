"""Users in PostgreSQL, one row per user."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg

from contracts.errors import EmailTaken
from mesh.transaction import Transaction
from services.user.domain import Profile, Role, State, User
from services.user.search import FORCE_CUSTOM_PLAN, SEARCH

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime
    from uuid import UUID

    from mesh.data.database import Database
    from services.user.search import UserFilter

_FIND = "select * from users where user_id = $1"
_FIND_BY_EMAIL = "select * from users where folded_email = casefold($1 collate pg_unicode_fast)"
_FIND_MANY = "select * from users where user_id = any($1)"
_LOCK = "select * from users where user_id = $1 for update"
# PostgreSQL logs the values of a violated constraint. `do nothing` avoids the violation, so that no address is logged.
_ADD = """
    insert into users (email, display_name, roles, state, email_confirmed, time_zone, create_time, update_time)
    values ($1, $2, $3, $4, $5, $6, $7, $7)
    on conflict (folded_email) do nothing returning *
"""
# `folded_email` is null if the user has left, so that another user can have the address.
_IS_TAKEN = """
    select exists (select from users where folded_email = casefold($1 collate pg_unicode_fast) and user_id <> $2)
"""
_SAVE = """
    update users set email = $2, display_name = $3, roles = $4, state = $5, email_confirmed = $6, time_zone = $7,
                     update_time = $8, erase_time = $9
    where user_id = $1
"""


class UserStore:
    """The users of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Begin a transaction, committed at the end of the block."""
        return Transaction.begin(self._database)

    async def find(self, user_id: UUID) -> User | None:
        """Return the user with this id, or None."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_FIND, user_id)
        return _user(row) if row else None

    async def find_by_email(self, email: str) -> User | None:
        """Return the user with this address in any case, or None. Departed users are not found."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_FIND_BY_EMAIL, email)
        return _user(row) if row else None

    async def find_many(self, user_ids: Sequence[UUID]) -> dict[UUID, User]:
        """Return the users that exist, keyed by id."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_FIND_MANY, user_ids)
        return {row["user_id"]: _user(row) for row in rows}

    async def search(self, wanted: UserFilter, limit: int, *, after: UUID | None) -> list[User]:
        """Return at most `limit` users who match a filter, in the order of their ids, after the one with id `after`."""
        async with self.transaction() as tx:
            await tx.connection.execute(FORCE_CUSTOM_PLAN)
            rows = await tx.connection.fetch(SEARCH[wanted.role, wanted.state], wanted.pattern, after, limit)
        return list(map(_user, rows))

    async def lock(self, tx: Transaction, user_id: UUID) -> User | None:
        """Return the user with this id, locked until the transaction ends, or None."""
        row = await tx.connection.fetchrow(_LOCK, user_id)
        return _user(row) if row else None

    async def add(self, tx: Transaction, profile: Profile, now: datetime) -> User:
        """Add a user and return it; raise EmailTaken if another user has the address."""
        row = await tx.connection.fetchrow(_ADD, *_columns(profile), now)
        if row is None:
            raise EmailTaken
        return _user(row)

    async def save(self, tx: Transaction, user: User) -> None:
        """Save a locked user; raise EmailTaken if another user has the address and this user has not left."""
        if not user.has_left and await tx.connection.fetchval(_IS_TAKEN, user.profile.email, user.user_id):
            raise EmailTaken
        try:
            columns = _columns(user.profile)
            await tx.connection.execute(_SAVE, user.user_id, *columns, user.update_time, user.erase_time)
        except asyncpg.UniqueViolationError:
            # A concurrent transaction took the address. The cause is dropped, because its text contains the address.
            raise EmailTaken from None


def _columns(profile: Profile) -> tuple[object, ...]:
    return (
        profile.email,
        profile.display_name,
        sorted(profile.roles),
        profile.state,
        profile.email_confirmed,
        profile.time_zone,
    )


def _user(row: asyncpg.Record) -> User:
    return User(
        user_id=row["user_id"],
        profile=Profile(
            email=row["email"],
            display_name=row["display_name"],
            roles=frozenset(map(Role, row["roles"])),
            time_zone=row["time_zone"],
            state=State(row["state"]),
            email_confirmed=row["email_confirmed"],
        ),
        create_time=row["create_time"],
        update_time=row["update_time"],
        erase_time=row["erase_time"],
    )
