"""Sessions in a database without a running service, and the messages in their outbox."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from services.session.booking.domain import BookingCall
from services.session.sessions.domain import Order, PaymentMethod, Period, Quote, Session
from solo60.session.v1.session_pb2 import SendSessionMailRequest

if TYPE_CHECKING:
    from mesh.data.database import Database
    from services.session.booking.store import BookingStore

NOW = datetime(2026, 8, 3, 12, tzinfo=UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
QUOTE = Quote(currency="GBP", minor_units=1250, credits=3, noise_policy="Quiet, please", requires_approval=False)
REFUND = "solo60.payment.v1.PaymentService/RefundSession"
MAIL = "solo60.session.v1.SessionService/SendSessionMail"


async def hold_session(
    store: BookingStore,
    *,
    gym_id: UUID | None = None,
    now: datetime = NOW,
    start: datetime = NOW + HOUR,
    requires_approval: bool = False,
) -> Session:
    """Hold an hour for a new member for one minute, by default in a new gym."""
    order = Order(uuid4(), gym_id or uuid4(), Period(start, start + HOUR), PaymentMethod.CREDITS)
    call = BookingCall("operator", uuid4().hex, b"request", "correlation")
    quote = replace(QUOTE, requires_approval=requires_approval)
    booking = await store.hold(order, quote, call, now=now, expire_time=now + MINUTE)
    return booking.session


async def book_session(
    store: BookingStore,
    *,
    gym_id: UUID | None = None,
    start: datetime = NOW + HOUR,
    requires_approval: bool = False,
) -> Session:
    """Hold an hour and confirm it, or let it wait for approval."""
    session = await hold_session(store, gym_id=gym_id, start=start, requires_approval=requires_approval)
    booking = await store.confirm(session.session_id, lambda _: b"answer", now=NOW)
    assert booking is not None
    return booking.session


async def pending_requests(database: Database, destination: str) -> list[bytes]:
    """Return the pending requests in the outbox for a method, in order."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            "select payload from outbox where destination = $1 order by sequence", destination
        )
    return [row["payload"] for row in rows]


async def pending_mails(database: Database) -> list[SendSessionMailRequest]:
    """Return the pending mails, in order."""
    return [SendSessionMailRequest.FromString(each) for each in await pending_requests(database, MAIL)]
