"""Codes in PostgreSQL, at most one per user and purpose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

from mesh.data.deletion import delete_in_batches
from services.auth.codes.domain import LIFETIMES, address_mac, code_sha256

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from mesh.data.database import Database
    from mesh.transaction import Transaction
    from services.auth.codes.domain import Purpose

_LOCK_USER = "select pg_advisory_xact_lock(hashtextextended($1, 0))"
_DELETE_OF_PURPOSE = "delete from codes where user_id = $1 and purpose = $2"
_ADD = "insert into codes (code_id, user_id, purpose, expire_time) values ($1, $2, $3, $4)"
_LOCK = "select true from codes where code_id = $1 and expire_time > $2 for update"
_ADD_HASH = "insert into code_hashes (code_sha256, code_id, address_mac) values ($1, $2, $3)"
_FIND = """
    select code_id, user_id, address_mac from code_hashes join codes using (code_id)
    where code_sha256 = $1 and purpose = $2 and expire_time > $3
"""
_USE = "delete from codes where code_id = $1 and expire_time > $2 returning true"
_DELETE_OF_USER = "delete from codes where user_id = $1"
_DELETE_EXPIRED = """
    delete from codes where code_id in (
        select code_id from codes where expire_time <= $1 order by expire_time limit $2 for update skip locked
    )
"""


@dataclass(frozen=True, slots=True)
class FoundCode:
    """Valid code: its id, its user, and the HMAC of the address that it was sent to."""

    code_id: UUID
    user_id: UUID
    address_mac: bytes


class CodeStore:
    """The codes of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def replace(self, tx: Transaction, user_id: UUID, purpose: Purpose, now: datetime) -> UUID:
        """Invalidate the user's codes for this purpose; return the id of a new one, whose mail creates the code."""
        # Without the lock, two replacements at once would both insert a code.
        await tx.connection.execute(_LOCK_USER, f"codes/{user_id}")
        await tx.connection.execute(_DELETE_OF_PURPOSE, user_id, purpose)
        code_id = uuid4()
        await tx.connection.execute(_ADD, code_id, user_id, purpose, now + LIFETIMES[purpose])
        return code_id

    async def add_hash(self, tx: Transaction, code_id: UUID, code: str, email: str, now: datetime) -> bool:
        """Store the hash of a code for an address; return False if the code was replaced, is used or has expired."""
        if not await tx.connection.fetchval(_LOCK, code_id, now):
            return False
        await tx.connection.execute(_ADD_HASH, code_sha256(code), code_id, address_mac(code, email))
        return True

    async def find(self, code: str, purpose: Purpose, now: datetime) -> FoundCode | None:
        """Return a valid code by its text; None if there is none."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_FIND, code_sha256(code), purpose, now)
        return FoundCode(row["code_id"], row["user_id"], row["address_mac"]) if row else None

    async def use(self, tx: Transaction, code: FoundCode, now: datetime) -> bool:
        """Use up a code; return False if it was used or replaced since it was found, or has expired."""
        return bool(await tx.connection.fetchval(_USE, code.code_id, now))

    async def delete_of_user(self, tx: Transaction, user_id: UUID) -> None:
        """Delete all codes of a user."""
        await tx.connection.execute(_DELETE_OF_USER, user_id)

    async def delete_expired(self, now: datetime) -> int:
        """Delete expired codes and return their number."""
        return await delete_in_batches(self._database, _DELETE_EXPIRED, now)
