"""Guests in PostgreSQL: at most one current invitation per session and email address.

Inviting locks the session row, so a concurrent cancellation cannot miss the new guest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.errors import GuestAlreadyInvited, InvitationNotFound, SessionNotFound
from mesh.transaction import Transaction
from services.session.guests.domain import Guest
from services.session.mails.domain import MailKind
from services.session.sessions.rows import session_of

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime
    from uuid import UUID

    import asyncpg

    from mesh.data.database import Database
    from services.session.mails.outbox import MailOutbox

_FIND = "select * from guests where invitation_id = $1"
_LOCK = "select * from guests where invitation_id = $1 for update"
_LOCK_SESSION = "select * from sessions where session_id = $1 for share"
# `do nothing` instead of an error, because PostgreSQL would log the address with the unique violation.
_ADD = """
    insert into guests (session_id, email, name, create_time) values ($1, $2, $3, $4)
    on conflict (session_id, folded_email) where cancel_time is null do nothing returning *
"""
_CANCEL = "update guests set cancel_time = $2 where invitation_id = $1"
_FIRST_OF_SESSION = """
    select * from guests where session_id = $1 and cancel_time is null order by create_time, invitation_id limit $2
"""
_NEXT_OF_SESSION = """
    select * from guests where session_id = $1 and cancel_time is null
        and (create_time, invitation_id) > (select create_time, invitation_id from guests where invitation_id = $3)
    order by create_time, invitation_id limit $2
"""
_INVITED = "select invitation_id from guests where session_id = $1 and cancel_time is null order by invitation_id"


class GuestStore:
    """The guests of one database. `mails` writes the mails to guests in the transaction of each change."""

    def __init__(self, database: Database, mails: MailOutbox) -> None:
        self._database = database
        self._mails = mails

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Begin a transaction, committed at the end of the block."""
        return Transaction.begin(self._database)

    async def find(self, invitation_id: UUID) -> Guest:
        """Return a guest, including one with a cancelled invitation; raise InvitationNotFound if there is none."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_FIND, invitation_id)
        if row is None:
            raise InvitationNotFound
        return _guest(row)

    async def list_of_session(self, session_id: UUID, limit: int, *, after: UUID | None) -> list[Guest]:
        """Return at most `limit` guests with a current invitation, oldest first, after the one with id `after`."""
        async with self._database.connection() as connection:
            if after is None:
                rows = await connection.fetch(_FIRST_OF_SESSION, session_id, limit)
            else:
                rows = await connection.fetch(_NEXT_OF_SESSION, session_id, limit, after)
        return list(map(_guest, rows))

    async def invite(self, tx: Transaction, session_id: UUID, email: str, name: str, now: datetime) -> Guest:
        """Invite a guest within the caller's transaction.

        Raises SessionNotFound, SessionTakesNoGuests or GuestAlreadyInvited.
        """
        session = await tx.connection.fetchrow(_LOCK_SESSION, session_id)
        if session is None:
            raise SessionNotFound
        session_of(session).require_guests_allowed(now)
        row = await tx.connection.fetchrow(_ADD, session_id, email, name, now)
        if row is None:
            raise GuestAlreadyInvited
        guest = _guest(row)
        await self._mails.add_for_guest(tx, session_id, guest.invitation_id, MailKind.GUEST_INVITED)
        return guest

    async def cancel_invitation(self, invitation_id: UUID, now: datetime) -> None:
        """Cancel an invitation and mail the guest, unless it is cancelled already; raise InvitationNotFound."""
        async with self.transaction() as tx:
            row = await tx.connection.fetchrow(_LOCK, invitation_id)
            if row is None:
                raise InvitationNotFound
            guest = _guest(row)
            if not guest.is_cancelled:
                await tx.connection.execute(_CANCEL, invitation_id, now)
                await self._mails.add_for_guest(tx, guest.session_id, invitation_id, MailKind.GUEST_CANCELLED)


async def invitations_to(tx: Transaction, session_id: UUID) -> list[UUID]:
    """Return the ids of the current invitations to a session."""
    return [row["invitation_id"] for row in await tx.connection.fetch(_INVITED, session_id)]


def _guest(row: asyncpg.Record) -> Guest:
    return Guest(
        invitation_id=row["invitation_id"],
        session_id=row["session_id"],
        email=row["email"],
        name=row["name"],
        create_time=row["create_time"],
        is_cancelled=row["cancel_time"] is not None,
    )
