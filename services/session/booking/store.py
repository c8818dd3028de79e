"""Bookings in PostgreSQL. At most one session holds a slot at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg

from contracts.errors import IdempotencyKeyReused, SlotTaken, Unavailable
from mesh.data.conflicts import retried_on_conflict
from mesh.data.database import DatabaseTooSlow
from mesh.transaction import Transaction
from services.session.booking.domain import Booking
from services.session.sessions.domain import SessionStatus
from services.session.sessions.rows import columns_of, range_of, require_row, session_of
from services.session.sessions.slots import lock_calendar, make_calendar, require_free
from services.session.sessions.store import release_hold

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from uuid import UUID

    from mesh.data.database import Connection, Database
    from services.session.booking.domain import BookingCall
    from services.session.follow_ups import FollowUps
    from services.session.sessions.domain import Order, Quote, Session

_LOCK = "select * from sessions where session_id = $1 for update"
_FIND_BY_CALL = "select * from sessions where caller = $1 and idempotency_key = $2"

# The calendar lock covers one gym only. `on conflict` detects a concurrent booking of another gym with the same key.
_HOLD = """
    insert into sessions (user_id, gym_id, period, paid_in,
                          currency, minor_units, credits, noise_policy, requires_approval,
                          caller, idempotency_key, request_sha256, correlation_id,
                          status, create_time, update_time, expire_time)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 'pending_payment', $14, $14, $15)
    on conflict (caller, idempotency_key) do nothing returning *
"""
_CONFIRM = "update sessions set status = $2, update_time = $3, expire_time = null where session_id = $1 returning *"
_STORE_RESPONSE = "update sessions set booking_response = $2 where session_id = $1 returning *"
# ExpireOffer ends an open offer, so the reconciler does not.
_NEXT_EXPIRE_TIME = """
    select min(expire_time) from sessions
    where status = 'pending_payment'
        and not exists (select from offers where offers.session_id = sessions.session_id and offers.status = 'open')
"""
# `= any(array(...))`, because PostgreSQL joins `in (...)` with a scan of the whole table.
_RELEASE_EXPIRED = """
    update sessions set status = 'cancelled', idempotency_key = null, update_time = $1, expire_time = null
    where session_id = any (array(
        select session_id from sessions where status = 'pending_payment' and expire_time <= $1
            and not exists (select from offers where offers.session_id = sessions.session_id and offers.status = 'open')
        for update skip locked
    ))
    returning *
"""


class BookingStore:
    """The bookings of one database. `follow_ups` writes follow-up calls in the transaction of each change."""

    def __init__(self, database: Database, follow_ups: FollowUps) -> None:
        self._database = database
        self._follow_ups = follow_ups

    async def find(self, call: BookingCall) -> Booking | None:
        """Return the booking of an earlier identical call, or None; raise IdempotencyKeyReused for another request."""
        async with self._database.connection() as connection:
            return await find_booking(connection, call)

    async def hold(
        self, order: Order, quote: Quote, call: BookingCall, *, now: datetime, expire_time: datetime
    ) -> Booking:
        """Hold the slot until `expire_time`, or return the booking that a concurrent identical call has made.

        Raises SlotTaken, SlotOffered, IdempotencyKeyReused, or Unavailable if too many bookings are waiting for the
        same gym.
        """
        try:
            async with Transaction.begin(self._database) as tx:
                await make_calendar(tx, order.gym_id)
                await lock_calendar(tx, order.gym_id)
                earlier = await find_booking(tx.connection, call)
                if earlier is not None:
                    return earlier
                await require_free(tx, order.gym_id, order.period)
                return await _insert(tx, order, quote, call, now, expire_time)
        except asyncpg.ExclusionViolationError as error:
            raise SlotTaken from error
        except DatabaseTooSlow as error:
            raise Unavailable("Too many bookings are waiting for this gym. Try again later.") from error

    async def confirm(self, session_id: UUID, respond: Callable[[Session], bytes], *, now: datetime) -> Booking | None:
        """Confirm a held session and store the response that `respond` returns for it.

        Return None if the slot has been released. A session confirmed earlier is returned unchanged.
        """
        async with Transaction.begin(self._database) as tx:
            booking = booking_of(require_row(await tx.connection.fetchrow(_LOCK, session_id)))
            held = booking.session
            if held.status is not SessionStatus.PENDING_PAYMENT:
                return booking if booking.response else None
            row = await tx.connection.fetchrow(_CONFIRM, session_id, held.status_when_paid, now)
            session = session_of(require_row(row))
            await self._follow_ups.of_booking(tx, session)
            response = respond(session)
            return booking_of(require_row(await tx.connection.fetchrow(_STORE_RESPONSE, session_id, response)))

    @retried_on_conflict
    async def release(self, session_id: UUID, *, now: datetime) -> bool:
        """Release a held slot; return False if it is no longer held."""
        async with Transaction.begin(self._database) as tx:
            released = await release_hold(tx, session_id, now)
            if released is not None:
                await self._follow_ups.of_release(tx, released)
        return released is not None

    async def next_expire_time(self) -> datetime | None:
        """Return the time when the next hold expires; None if there is no hold."""
        async with self._database.connection() as connection:
            expire_time: datetime | None = await connection.fetchval(_NEXT_EXPIRE_TIME)
        return expire_time

    @retried_on_conflict
    async def release_expired(self, now: datetime) -> None:
        """Release the slots of expired holds."""
        async with Transaction.begin(self._database) as tx:
            for row in await tx.connection.fetch(_RELEASE_EXPIRED, now):
                await self._follow_ups.of_release(tx, session_of(row))


async def _insert(
    tx: Transaction, order: Order, quote: Quote, call: BookingCall, now: datetime, expire_time: datetime
) -> Booking:
    row = await tx.connection.fetchrow(
        _HOLD,
        *(order.user_id, order.gym_id, range_of(order.period), order.payment_method),
        *columns_of(quote),
        *(call.caller, call.key, call.request_sha256, call.correlation_id),
        *(now, expire_time),
    )
    if row is None:
        raise IdempotencyKeyReused
    return booking_of(row)


async def find_booking(connection: Connection, call: BookingCall) -> Booking | None:
    """Return the booking of an earlier identical call, or None; raise IdempotencyKeyReused for another request."""
    row = await connection.fetchrow(_FIND_BY_CALL, call.caller, call.key)
    if row is None:
        return None
    if row["request_sha256"] != call.request_sha256:
        raise IdempotencyKeyReused
    return booking_of(row)


def booking_of(row: asyncpg.Record) -> Booking:
    """Return the booking in a row."""
    return Booking(session_of(row), row["booking_response"])
