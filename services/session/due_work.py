"""Due work in PostgreSQL: what is left to be done about sessions, given to one process at a time until it is done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.session.rows import session_of

if TYPE_CHECKING:
    from datetime import datetime, timedelta
    from uuid import UUID

    from mesh.database import Database
    from services.session.domain import Mail, Session

_REFUNDED = """
    update sessions set refund_due = false, due_time = case when mails_due = '{}' then null else due_time end
    where session_id = $1
"""
_MAILED = """
    update sessions set mails_due = array_remove(mails_due, $2),
        due_time = case when refund_due or array_remove(mails_due, $2) <> '{}' then due_time end
    where session_id = $1
"""
_EXPIRE = """
    update sessions set status = 'cancelled', idempotency_key = null, refund_due = true, update_time = $1
    where session_id in (
        select session_id from sessions where status = 'pending_payment' and due_time <= $1 for update skip locked
    )
"""
_COMPLETE = """
    update sessions set status = 'completed', update_time = upper(period)
    where session_id in (
        select session_id from sessions where status = 'confirmed' and upper(period) <= $1 for update skip locked
    )
"""
_CLAIM = """
    update sessions set due_attempts = due_attempts + 1,
        due_time = $1 + least($3::interval * 2 ^ least(due_attempts, 16), $4::interval)
    where session_id in (
        select session_id from sessions where due_time <= $1 and status <> 'pending_payment'
        order by due_time limit $2 for update skip locked
    )
    returning *
"""


class DueWork:
    """What is left to be done about the sessions of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def note_refunded(self, session_id: UUID) -> None:
        """Note that the member has the price back."""
        async with self._database.transaction() as connection:
            await connection.execute(_REFUNDED, session_id)

    async def note_mailed(self, session_id: UUID, mail: Mail) -> None:
        """Note that a mail is on its way."""
        async with self._database.transaction() as connection:
            await connection.execute(_MAILED, session_id, mail)

    async def release_expired(self, now: datetime) -> None:
        """Release the slots of held sessions that nobody confirmed in time, and leave their refunds due."""
        async with self._database.transaction() as connection:
            await connection.execute(_EXPIRE, now)

    async def complete_past(self, now: datetime) -> None:
        """Complete the confirmed sessions whose period is over."""
        async with self._database.transaction() as connection:
            await connection.execute(_COMPLETE, now)

    async def claim(self, now: datetime, limit: int, *, pause: timedelta, longest_pause: timedelta) -> list[Session]:
        """Return sessions about which something is left to be done.

        Nobody else is given them until a pause has passed, which doubles each time from `pause` to `longest_pause`.
        """
        async with self._database.transaction() as connection:
            rows = await connection.fetch(_CLAIM, now, limit, pause, longest_pause)
        return [session_of(row) for row in rows]
