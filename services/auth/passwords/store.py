"""Password hashes in PostgreSQL, one per user."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from mesh.data.database import Database
    from mesh.transaction import Transaction

_FIND = "select password_hash, change_time from passwords where user_id = $1"
_LOCK = "select change_time from passwords where user_id = $1 for update"
_SET = """
    insert into passwords (user_id, password_hash, change_time) values ($1, $2, $3)
    on conflict (user_id) do update set password_hash = $2, change_time = $3
"""
_REPLACE_HASH = "update passwords set password_hash = $2 where user_id = $1"
_DELETE = "delete from passwords where user_id = $1"


@dataclass(frozen=True, slots=True)
class Password:
    """Hash of a user's password, and the time when the user set the password."""

    password_hash: str
    change_time: datetime


class PasswordStore:
    """The passwords of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, user_id: UUID) -> Password | None:
        """Return the password of a user; None if there is none."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_FIND, user_id)
        return Password(row["password_hash"], row["change_time"]) if row else None

    async def is_still(self, tx: Transaction, user_id: UUID, password: Password) -> bool:
        """Return whether the user has not changed the password since it was found, and lock it."""
        return bool(await tx.connection.fetchval(_LOCK, user_id) == password.change_time)

    async def set(self, tx: Transaction, user_id: UUID, password_hash: str, now: datetime) -> None:
        """Set the password of a user."""
        await tx.connection.execute(_SET, user_id, password_hash, now)

    async def replace_hash(self, tx: Transaction, user_id: UUID, password_hash: str) -> None:
        """Replace the hash by another one of the same password."""
        await tx.connection.execute(_REPLACE_HASH, user_id, password_hash)

    async def delete(self, tx: Transaction, user_id: UUID) -> None:
        """Delete the password of a user, if there is one."""
        await tx.connection.execute(_DELETE, user_id)
