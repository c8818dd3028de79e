"""Failed attempts in PostgreSQL, so that all replicas count together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.errors import TooManyAttempts
from mesh.data.deletion import delete_in_batches
from mesh.transaction import Transaction
from services.auth.attempts.domain import ADDRESS_LIMIT, FORGET_AFTER, KNOWN_FOR, SOURCE_LIMIT, Failures

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from mesh.data.database import Database
    from services.auth.attempts.domain import Limit, Subjects

_IS_KNOWN = "select exists (select from known_sources where pair = $1 and last_time > $2)"
# The update has no effect but to lock a row that exists.
_LOCK = """
    insert into failed_attempts (subject, failures, last_time) values ($1, 0, $2)
    on conflict (subject) do update set subject = excluded.subject returning failures, last_time
"""
_COUNT = "update failed_attempts set failures = $2, last_time = $3 where subject = $1"
_FORGIVE_ONE = "update failed_attempts set failures = greatest(failures - 1, 0) where subject = $1"
_FORGIVE_ALL = "delete from failed_attempts where subject = $1"
_REMEMBER = """
    insert into known_sources (pair, user_id, last_time) values ($1, $2, $3)
    on conflict (pair, user_id) do update set last_time = excluded.last_time
"""
_DELETE_OF_USER = "delete from known_sources where user_id = $1"
_DELETE_FORGOTTEN = """
    delete from failed_attempts where subject in (
        select subject from failed_attempts where last_time <= $1 order by last_time limit $2 for update skip locked
    )
"""
_DELETE_UNUSED = """
    delete from known_sources where (pair, user_id) in (
        select pair, user_id from known_sources where last_time <= $1 order by last_time limit $2 for update skip locked
    )
"""


class AttemptStore:
    """The failed attempts of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, subjects: Subjects, now: datetime) -> None:
        """Count an attempt as failed, before its password is verified, so that parallel attempts count as well.

        Raises TooManyAttempts during a pause of the address or the source. Such attempts do not count. A known source
        does not wait for the address.
        """
        async with Transaction.begin(self._database) as tx:
            if not await self._is_known(tx, subjects, now):
                await self._count(tx, subjects.address, ADDRESS_LIMIT, now)
            if subjects.source is not None:
                await self._count(tx, subjects.source, SOURCE_LIMIT, now)

    async def forgive(self, tx: Transaction, subjects: Subjects) -> None:
        """Take an attempt with the right password out of the count, and forget the failures of its address."""
        await self.forget_address(tx, subjects)
        if subjects.source is not None:
            await tx.connection.execute(_FORGIVE_ONE, subjects.source)

    async def remember_source(self, tx: Transaction, subjects: Subjects, user_id: UUID, now: datetime) -> None:
        """Remember that the source of an attempt has logged in."""
        if subjects.pair is not None:
            await tx.connection.execute(_REMEMBER, subjects.pair, user_id, now)

    async def forget_address(self, tx: Transaction, subjects: Subjects) -> None:
        """Delete the failed attempts of an address."""
        await tx.connection.execute(_FORGIVE_ALL, subjects.address)

    async def forget_user(self, tx: Transaction, user_id: UUID) -> None:
        """Delete the known sources of a user."""
        await tx.connection.execute(_DELETE_OF_USER, user_id)

    async def delete_old(self, now: datetime) -> None:
        """Delete failures that no longer count, and sources that are no longer known."""
        await delete_in_batches(self._database, _DELETE_FORGOTTEN, now - FORGET_AFTER)
        await delete_in_batches(self._database, _DELETE_UNUSED, now - KNOWN_FOR)

    async def _is_known(self, tx: Transaction, subjects: Subjects, now: datetime) -> bool:
        if subjects.pair is None:
            return False
        return bool(await tx.connection.fetchval(_IS_KNOWN, subjects.pair, now - KNOWN_FOR))

    async def _count(self, tx: Transaction, subject: bytes, limit: Limit, now: datetime) -> None:
        row = await tx.connection.fetchrow(_LOCK, subject, now)
        assert row is not None  # noqa: S101 - the statement inserts or updates
        failures = Failures(row["failures"], row["last_time"])
        pause_s = failures.remaining_pause(limit, now).total_seconds()
        if pause_s > 0:
            raise TooManyAttempts(retry_after_s=pause_s)
        await tx.connection.execute(_COUNT, subject, failures.count_at(now) + 1, now)
