"""Sessions in PostgreSQL: a slot is held by one session at a time, and what is left to be done survives every crash."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg

from contracts.errors import IdempotencyKeyReused, SessionNotFound, SlotTaken, Unavailable
from mesh.database import DatabaseTooSlow
from services.session.domain import Mail, Status
from services.session.rows import booking_of, period_of, session_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from uuid import UUID

    from mesh.database import Connection, Database
    from services.session.domain import BookingCall, Order, Period, Quote, Session
    from services.session.rows import Booking

_FIND = "select * from sessions where session_id = $1"
_LOCK = "select * from sessions where session_id = $1 for update"
_FIND_BY_CALL = "select * from sessions where caller = $1 and idempotency_key = $2"

_FIRST_OF_USER = """
    select * from sessions where user_id = $1 and ($2::text is null or status = $2)
    order by lower(period) desc, session_id desc limit $3
"""
_NEXT_OF_USER = """
    select * from sessions where user_id = $1 and ($2::text is null or status = $2)
        and (lower(period), session_id) < (select lower(period), session_id from sessions where session_id = $4)
    order by lower(period) desc, session_id desc limit $3
"""
_BUSY = """
    select period from sessions where gym_id = $1 and period && $2
        and status in ('pending_payment', 'pending_approval', 'confirmed')
    order by period
"""
_IS_BUSY = f"select exists ({_BUSY})"

_MAKE_CALENDAR = "insert into calendars (gym_id) values ($1) on conflict do nothing"
_LOCK_CALENDAR = "select from calendars where gym_id = $1 for update"
# Another gym's booking under the same key is held back by no calendar's lock: that conflict is found here.
_HOLD = """
    insert into sessions (user_id, gym_id, period, paid_in,
                          currency, minor_units, credits, noise_policy, requires_approval,
                          caller, idempotency_key, request_sha256, correlation_id,
                          status, create_time, update_time, due_time)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 'pending_payment', $14, $14, $15)
    on conflict (caller, idempotency_key) do nothing returning *
"""
_CONFIRM = """
    update sessions set status = $2, mails_due = $3, update_time = $4,
        due_time = case when $3::text[] <> '{}' then $5::timestamptz end
    where session_id = $1 returning *
"""
_KEEP_RESPONSE = "update sessions set booking_response = $2 where session_id = $1 returning *"
_RELEASE = """
    update sessions set status = 'cancelled', idempotency_key = null, refund_due = true, update_time = $2, due_time = $3
    where session_id = $1 and status = 'pending_payment' returning *
"""
_CANCEL = """
    update sessions set status = 'cancelled', cancel_reason = $2, refund_due = true,
        mails_due = array_append(mails_due, $3), update_time = $4, due_time = $5, due_attempts = 0
    where session_id = $1 returning *
"""


class SessionStore:
    """The sessions of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, session_id: UUID) -> Session | None:
        """Return the session with this id, if there is one."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_FIND, session_id)
        return session_of(row) if row else None

    async def list_of_user(
        self, user_id: UUID, status: Status | None, limit: int, *, after: Session | None
    ) -> list[Session]:
        """Return a user's sessions, the latest period first: the first ones, or those that follow `after`."""
        async with self._database.connection() as connection:
            if after is None:
                rows = await connection.fetch(_FIRST_OF_USER, user_id, status, limit)
            else:
                rows = await connection.fetch(_NEXT_OF_USER, user_id, status, limit, after.session_id)
        return [session_of(row) for row in rows]

    async def busy_periods(self, gym_id: UUID, period: Period) -> list[Period]:
        """Return the periods in which a gym is taken and that overlap `period`, by their start."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_BUSY, gym_id, _range_of(period))
        return [period_of(row["period"]) for row in rows]

    async def find_booking(self, call: BookingCall) -> Booking | None:
        """Return what a call booked before, if it did; raise IdempotencyKeyReused when its key is another request's."""
        async with self._database.connection() as connection:
            return await _find_booking(connection, call)

    async def hold(
        self, order: Order, quote: Quote, call: BookingCall, *, now: datetime, expire_time: datetime
    ) -> Booking:
        """Hold the slot until `expire_time`, or return what the same call has booked meanwhile.

        Raises SlotTaken, IdempotencyKeyReused, or Unavailable where too many others wait for the same gym.
        """
        try:
            async with self._database.transaction() as connection:
                await connection.execute(_MAKE_CALENDAR, order.gym_id)
                await connection.execute(_LOCK_CALENDAR, order.gym_id)
                earlier = await _find_booking(connection, call)
                if earlier is not None:
                    return earlier
                if await connection.fetchval(_IS_BUSY, order.gym_id, _range_of(order.period)):
                    raise SlotTaken
                return await _insert(connection, order, quote, call, now, expire_time)
        except asyncpg.ExclusionViolationError as error:
            raise SlotTaken from error
        except DatabaseTooSlow as error:
            raise Unavailable("Too many bookings wait for this gym now.") from error

    async def confirm(
        self, session_id: UUID, respond: Callable[[Session], bytes], *, now: datetime, due_time: datetime
    ) -> Booking | None:
        """Confirm a held session, keep what `respond` makes of it, and leave its mails due.

        Return None when the slot was released meanwhile; a session that is confirmed already is returned as it is.
        """
        async with self._database.transaction() as connection:
            booking = booking_of(_known(await connection.fetchrow(_LOCK, session_id)))
            held = booking.session
            if held.status is not Status.PENDING_PAYMENT:
                return booking if booking.response else None
            row = await connection.fetchrow(
                _CONFIRM, session_id, held.status_when_paid, list(held.mails_when_paid), now, due_time
            )
            response = respond(session_of(_known(row)))
            return booking_of(_known(await connection.fetchrow(_KEEP_RESPONSE, session_id, response)))

    async def release(self, session_id: UUID, *, now: datetime, due_time: datetime) -> Session | None:
        """Release a slot that is held and leave the refund due; return None when it is not held any more."""
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(_RELEASE, session_id, now, due_time)
        return session_of(row) if row else None

    async def cancel(self, session_id: UUID, reason: str, *, now: datetime, due_time: datetime) -> Session:
        """Cancel a session, leaving refund and mail due; one that is cancelled already is returned as it is.

        Raises SessionNotFound or SessionNotCancellable.
        """
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(_LOCK, session_id)
            if row is None:
                raise SessionNotFound
            session = session_of(row)
            if session.status is Status.CANCELLED:
                return session
            session.refuse_cancellation(now)
            row = await connection.fetchrow(_CANCEL, session_id, reason, Mail.CANCELLED, now, due_time)
            return session_of(_known(row))


async def _insert(
    connection: Connection, order: Order, quote: Quote, call: BookingCall, now: datetime, expire_time: datetime
) -> Booking:
    row = await connection.fetchrow(
        _HOLD,
        *(order.user_id, order.gym_id, _range_of(order.period), order.means),
        *(quote.currency, quote.minor_units, quote.credits, quote.noise_policy, quote.requires_approval),
        *(call.caller, call.key, call.request_sha256, call.correlation_id),
        *(now, expire_time),
    )
    if row is None:
        raise IdempotencyKeyReused
    return booking_of(row)


async def _find_booking(connection: Connection, call: BookingCall) -> Booking | None:
    row = await connection.fetchrow(_FIND_BY_CALL, call.caller, call.key)
    if row is None:
        return None
    if row["request_sha256"] != call.request_sha256:
        raise IdempotencyKeyReused
    return booking_of(row)


def _range_of(period: Period) -> asyncpg.Range[datetime]:
    return asyncpg.Range(period.start, period.end)


def _known(row: asyncpg.Record | None) -> asyncpg.Record:
    """Return the row of a session that this transaction has locked: sessions are never deleted."""
    if row is None:
        raise LookupError("a locked session is gone")
    return row
