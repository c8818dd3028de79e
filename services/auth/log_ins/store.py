"""Log-ins in PostgreSQL, each with its refresh tokens. A token is stored only as its SHA-256."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from mesh.access_tokens import CLOCK_SKEW, LIFETIME
from mesh.data.deletion import delete_in_batches
from services.auth.log_ins.domain import (
    IDLE_LIFETIME,
    REUSE_WINDOW,
    TOKEN_BYTES,
    IssuedToken,
    RefreshToken,
    Use,
    new_token,
    successor_of,
    token_sha256,
)

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    import asyncpg

    from mesh.data.database import Database
    from mesh.transaction import Transaction

_ADD = "insert into log_ins (user_id, create_time, expire_time) values ($1, $2, $3) returning log_in_id"
_ADD_TOKEN = "insert into refresh_tokens (token_sha256, log_in_id, expire_time) values ($1, $2, $3)"  # noqa: S105 - SQL
_FIND = """
    select log_in_id, user_id, log_ins.create_time as log_in_time, revoke_time is not null as is_revoked,
        refresh_tokens.expire_time, use_time, salt
    from refresh_tokens join log_ins using (log_in_id) where token_sha256 = $1
"""
# The lock makes parallel uses wait for the first one. It also keeps the log-in from being revoked meanwhile.
_LOCK = f"{_FIND} for update"
_USE = "update refresh_tokens set use_time = $2, salt = $3 where token_sha256 = $1"
_EXTEND = "update log_ins set expire_time = $2 where log_in_id = $1"
_REVOKE = "update log_ins set revoke_time = $2 where log_in_id = $1 and revoke_time is null"
_REVOKE_LOG_IN_OF = """
    update log_ins set revoke_time = $2
    where log_in_id = (select log_in_id from refresh_tokens where token_sha256 = $1) and revoke_time is null
"""
_REVOKE_ALL = "update log_ins set revoke_time = $2 where user_id = $1 and revoke_time is null"
_IS_OPEN = "select exists (select from log_ins where log_in_id = $1 and revoke_time is null)"
_REVOKED = """
    select log_in_id, revoke_time from log_ins
    where revoke_time >= $2 and ($3::timestamptz is null or (revoke_time, log_in_id) > ($3, $4::uuid))
    order by revoke_time, log_in_id limit $1
"""
_DELETE_SALTS = "update refresh_tokens set salt = null where salt is not null and use_time < $1"
_DELETE_TOKENS = """
    delete from refresh_tokens where token_sha256 in (
        select token_sha256 from refresh_tokens where expire_time <= $1 order by expire_time limit $2
        for update skip locked
    )
"""
_DELETE_EXPIRED = """
    delete from log_ins where log_in_id in (
        select log_in_id from log_ins where expire_time <= $1 order by expire_time limit $2 for update skip locked
    )
"""
_DELETE_REVOKED = """
    delete from log_ins where log_in_id in (
        select log_in_id from log_ins where revoke_time <= $1 order by revoke_time limit $2 for update skip locked
    )
"""


class LogInStore:
    """The log-ins of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, tx: Transaction, user_id: UUID, now: datetime) -> IssuedToken:
        """Add a log-in and return its first refresh token."""
        token, expire_time = new_token(), now + IDLE_LIFETIME
        log_in_id = await tx.connection.fetchval(_ADD, user_id, now, expire_time)
        await tx.connection.execute(_ADD_TOKEN, token_sha256(token), log_in_id, expire_time)
        return IssuedToken(token, expire_time, log_in_id)

    async def find(self, token: bytes) -> RefreshToken | None:
        """Return a refresh token; None if it is unknown."""
        async with self._database.connection() as connection:
            return _refresh_token(await connection.fetchrow(_FIND, token_sha256(token)))

    async def rotate(self, tx: Transaction, token: bytes, now: datetime) -> tuple[Use, IssuedToken | None]:
        """Use a token; return the verdict, and the successor of an accepted token.

        The second use of a token after REUSE_WINDOW revokes the log-in.
        """
        found = _refresh_token(await tx.connection.fetchrow(_LOCK, token_sha256(token)))
        use = found.use(now) if found else Use.INVALID
        if found is None or use is Use.INVALID:
            return use, None
        if use is Use.STOLEN:
            await tx.connection.execute(_REVOKE, found.log_in_id, now)
            return use, None
        use_time, salt = found.use_time or now, found.salt or secrets.token_bytes(TOKEN_BYTES)
        successor = IssuedToken(successor_of(token, salt), found.successor_expire_time(use_time), found.log_in_id)
        if use is Use.FIRST:
            await tx.connection.execute(_USE, token_sha256(token), use_time, salt)
            await tx.connection.execute(
                _ADD_TOKEN, token_sha256(successor.token), found.log_in_id, successor.expire_time
            )
            await tx.connection.execute(_EXTEND, found.log_in_id, successor.expire_time)
        return use, successor

    async def revoke_by_token(self, tx: Transaction, token: bytes, now: datetime) -> None:
        """Revoke the log-in of a refresh token, used or not; do nothing if it is unknown or revoked."""
        await tx.connection.execute(_REVOKE_LOG_IN_OF, token_sha256(token), now)

    async def revoke_all(self, tx: Transaction, user_id: UUID, now: datetime) -> None:
        """Revoke all log-ins of a user."""
        await tx.connection.execute(_REVOKE_ALL, user_id, now)

    async def is_open(self, log_in_id: UUID) -> bool:
        """Return whether a log-in exists and is not revoked."""
        async with self._database.connection() as connection:
            return bool(await connection.fetchval(_IS_OPEN, log_in_id))

    async def list_revoked(
        self, limit: int, *, since: datetime, after: tuple[datetime, UUID] | None
    ) -> list[tuple[UUID, datetime]]:
        """Return at most `limit` log-ins revoked at `since` or later, oldest first, with their times.

        `after` is the last one of the previous page.
        """
        async with self._database.connection() as connection:
            rows = await connection.fetch(_REVOKED, limit, since, *(after or (None, None)))
        return [(row["log_in_id"], row["revoke_time"]) for row in rows]

    async def delete_old(self, now: datetime) -> None:
        """Delete salts without use, expired tokens, and log-ins without any valid refresh or access token."""
        async with self._database.connection() as connection:
            await connection.execute(_DELETE_SALTS, now - REUSE_WINDOW)
        margin = LIFETIME + CLOCK_SKEW
        await delete_in_batches(self._database, _DELETE_EXPIRED, now - margin)
        await delete_in_batches(self._database, _DELETE_REVOKED, now - 2 * margin)
        await delete_in_batches(self._database, _DELETE_TOKENS, now - margin)


def _refresh_token(row: asyncpg.Record | None) -> RefreshToken | None:
    return RefreshToken(**dict(row)) if row else None
