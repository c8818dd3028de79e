"""Guests in PostgreSQL: at most one current invitation per session and email address.

Inviting locks the session row, so a concurrent cancellation cannot miss the new guest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.errors import GuestAlreadyInvited, InvitationNotFound, SessionNotFound
from services.session.rows import guest_of, session_of

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime
    from uuid import UUID

    from mesh.data.database import Connection, Database
    from services.session.domain import Guest
    from services.session.follow_ups import FollowUps

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
    """The guests of one database. `follow_ups` writes the mails to guests in the transaction of each change."""

    def __init__(self, database: Database, follow_ups: FollowUps) -> None:
        self._database = database
        self._follow_ups = follow_ups

    def transaction(self) -> AbstractAsyncContextManager[Connection]:
        """Start a transaction and commit it at the end of the block."""
        return self._database.transaction()

    async def find(self, invitation_id: UUID) -> Guest:
        """Return a guest, including one with a cancelled invitation; raise InvitationNotFound if there is none."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_FIND, invitation_id)
        if row is None:
            raise InvitationNotFound
        return guest_of(row)

    async def list_of_session(self, session_id: UUID, limit: int, *, after: UUID | None) -> list[Guest]:
        """Return at most `limit` guests with a current invitation, oldest first, after the one with id `after`."""
        async with self._database.connection() as connection:
            if after is None:
                rows = await connection.fetch(_FIRST_OF_SESSION, session_id, limit)
            else:
                rows = await connection.fetch(_NEXT_OF_SESSION, session_id, limit, after)
        return list(map(guest_of, rows))

    async def invite(self, connection: Connection, session_id: UUID, email: str, name: str, now: datetime) -> Guest:
        """Invite a guest within the caller's transaction.

        Raises SessionNotFound, SessionTakesNoGuests or GuestAlreadyInvited.
        """
        session = await connection.fetchrow(_LOCK_SESSION, session_id)
        if session is None:
            raise SessionNotFound
        session_of(session).refuse_guests(now)
        row = await connection.fetchrow(_ADD, session_id, email, name, now)
        if row is None:
            raise GuestAlreadyInvited
        guest = guest_of(row)
        await self._follow_ups.of_invitation(connection, guest)
        return guest

    async def take_back(self, invitation_id: UUID, now: datetime) -> None:
        """Cancel an invitation and mail the guest, unless it is cancelled already; raise InvitationNotFound."""
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(_LOCK, invitation_id)
            if row is None:
                raise InvitationNotFound
            guest = guest_of(row)
            if not guest.is_cancelled:
                await connection.execute(_CANCEL, invitation_id, now)
                await self._follow_ups.of_invitation_taken_back(connection, guest)


async def invitations_to(connection: Connection, session_id: UUID) -> list[UUID]:
    """Return the ids of the current invitations to a session."""
    return [row["invitation_id"] for row in await connection.fetch(_INVITED, session_id)]
