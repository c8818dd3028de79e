"""Erasure in PostgreSQL.

The erasure of a member is repeated in rounds until no session of the member is open and no guest has an address. A
guest with a pending mail in the outbox is erased in the round after the mail. A booking that was in progress when the
member left is cancelled in a later round.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from contracts.errors import Unavailable
from mesh.data.erasure import erase_keys, erase_user_data
from mesh.transaction import Transaction
from services.session.cancellation.store import MEMBER_LEFT

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from mesh.data.database import Database
    from services.session.cancellation.store import CancellationStore
    from services.session.waiting_list.store import WaitingListStore

# Shortest duration of an erasure. A booking that has checked the member before the erasure stores its hold much sooner.
MIN_DURATION = timedelta(minutes=1)

_RECORD = "insert into erased_users (user_id, erase_time) values ($1, $2) on conflict do nothing"
_FIND_UNFINISHED = "select user_id from erased_users where finish_time is null order by erase_time limit 100"
_LOCK = "select from erased_users where user_id = $1 and finish_time is null for update skip locked"
_SESSION_IDS = "select session_id from sessions where user_id = $1"
_ERASE_REASONS = "update sessions set cancel_reason = '' where user_id = $1 and cancel_reason not in ('', $2)"
# The aggregate key of a mail to a guest is the id of the invitation.
_ERASE_GUESTS = """
    update guests set email = '', name = '', cancel_time = coalesce(cancel_time, $2)
    where email <> '' and session_id = any($1) and not exists (
        select from outbox where status = 'pending' and destination = $3 and aggregate_key = invitation_id::text
    )
"""
_FINISH = """
    update erased_users set finish_time = $2
    where user_id = $1 and erase_time <= $3
        and not exists (
            select from sessions
            where user_id = $1 and status in ('pending_payment', 'pending_approval', 'confirmed')
        )
        and not exists (select from guests where email <> '' and session_id = any($4))
"""
_ERASE_GUEST = """
    update guests set email = '', name = '', cancel_time = coalesce(cancel_time, $2)
    where folded_email = casefold($1 collate pg_unicode_fast) and email <> '' returning invitation_id
"""
_IS_DELIVERING = """
    select exists (
        select from outbox
        where status = 'pending' and lease_holder is not null and destination = $1 and aggregate_key = any($2)
    )
"""
_MAILS = "solo60.session.v1.SessionService/SendSessionMail"


class ErasureStore:
    """Erasure of persons from one database."""

    def __init__(self, database: Database, cancellations: CancellationStore, waiting_list: WaitingListStore) -> None:
        self._database = database
        self._cancellations = cancellations
        self._waiting_list = waiting_list

    async def erase_user(self, user_id: UUID, now: datetime) -> None:
        """Record that a member is erased, and do the first round."""
        async with Transaction.begin(self._database) as tx:
            await tx.connection.execute(_RECORD, user_id, now)
        await self._erase_in_round(user_id, now)

    async def continue_erasures(self, now: datetime) -> None:
        """Do another round for each member whose erasure is not finished."""
        async with self._database.connection() as connection:
            unfinished = await connection.fetch(_FIND_UNFINISHED)
        for row in unfinished:
            await self._erase_in_round(row["user_id"], now)

    async def erase_address(self, email: str, now: datetime) -> None:
        """Erase the guests with an address; raise Unavailable, and change nothing, while a mail to one is being sent.

        A mail that is still waiting finds no address and is skipped.
        """
        async with Transaction.begin(self._database) as tx:
            rows = await tx.connection.fetch(_ERASE_GUEST, email, now)
            ids = [row["invitation_id"] for row in rows]
            if await tx.connection.fetchval(_IS_DELIVERING, _MAILS, list(map(str, ids))):
                raise Unavailable("A mail to the address is being sent.")
            await erase_keys(tx.connection, ids)

    async def _erase_in_round(self, user_id: UUID, now: datetime) -> None:
        await self._cancellations.cancel_upcoming_of(user_id, MEMBER_LEFT, now=now)
        await self._waiting_list.leave_all(user_id, now)
        async with Transaction.begin(self._database) as tx:
            if await tx.connection.fetchrow(_LOCK, user_id) is None:
                return
            session_ids = [row["session_id"] for row in await tx.connection.fetch(_SESSION_IDS, user_id)]
            await tx.connection.execute(_ERASE_REASONS, user_id, MEMBER_LEFT)
            await tx.connection.execute(_ERASE_GUESTS, session_ids, now, _MAILS)
            await erase_user_data(tx.connection, user_id, owned_ids=session_ids)
            await tx.connection.execute(_FINISH, user_id, now, now - MIN_DURATION, session_ids)
