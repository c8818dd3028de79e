"""Booking: a slot is held, charged and confirmed, or the member pays nothing, whatever breaks in between.

Other services are asked between transactions, never within one. Each step may be repeated, so a repetition of the call
takes up what the first one left undone.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from contracts.errors import (
    CardDeclined,
    InsufficientCredits,
    ServiceError,
    Unavailable,
)
from interceptors.context import detached_work
from mesh.idempotency import mark_replayed
from services.session.messages import charge_request, period_message, quote_of, session_message
from solo60.gym.v1.gym_pb2 import QuotePriceRequest
from solo60.session.v1.session_pb2 import BookSessionResponse

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from services.session.directory import Directory
    from services.session.domain import BookingCall, Order, Quote, Session
    from services.session.rows import Booking
    from services.session.store import SessionStore
    from solo60.gym.v1.gym_pb2_grpc import GymServiceAsyncStub
    from solo60.payment.v1.payment_pb2 import PaymentMethod
    from solo60.payment.v1.payment_pb2_grpc import PaymentServiceAsyncStub

# Longer than the contract lets a call of BookSession last.
HOLD_FOR = timedelta(seconds=15)
REFUSALS = (CardDeclined, InsufficientCredits)

_log = structlog.stdlib.get_logger("solo60.session.booking")


class BookingDesk:
    """Books sessions."""

    def __init__(
        self,
        store: SessionStore,
        directory: Directory,
        gyms: GymServiceAsyncStub,
        payments: PaymentServiceAsyncStub,
        now: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._directory = directory
        self._gyms = gyms
        self._payments = payments
        self._now = now
        self._abandoning: set[asyncio.Task[None]] = set()

    async def book(self, order: Order, call: BookingCall, payment_method: PaymentMethod) -> BookSessionResponse:
        """Book what is ordered, or return what the same call was answered before.

        Raises what the contract of BookSession lists, IdempotencyKeyReused, or Unavailable when it is not known
        whether the member was charged: then, as in all other cases, the price is given back.
        """
        booking = await self._store.find_booking(call) or await self._hold(order, call)
        if booking.response is not None:
            mark_replayed()
            return BookSessionResponse.FromString(booking.response)
        try:
            return await self._charge_and_confirm(booking.session, payment_method)
        except BaseException as error:
            abandoning = self._start_to_abandon(booking.session)
            if not isinstance(error, Exception):
                raise  # nobody waits for an answer any more
            await asyncio.wait([abandoning])
            if isinstance(error, REFUSALS):
                raise
            if not isinstance(error, ServiceError):
                _log.exception("booking failed")
            raise Unavailable("The session could not be paid for now. It is not booked and costs nothing.") from error

    async def _hold(self, order: Order, call: BookingCall) -> Booking:
        now = self._now()
        order.period.refuse_past(now)
        _, quote = await asyncio.gather(self._directory.require_active_user(order.user_id), self._quote(order))
        return await self._store.hold(order, quote, call, now=now, expire_time=now + HOLD_FOR)

    async def _quote(self, order: Order) -> Quote:
        response = await self._gyms.QuotePrice(
            QuotePriceRequest(gym_id=str(order.gym_id), period=period_message(order.period))
        )
        return quote_of(response.quote)

    async def _charge_and_confirm(self, session: Session, payment_method: PaymentMethod) -> BookSessionResponse:
        await self._payments.ChargeSession(charge_request(session, payment_method))
        booking = await self._store.confirm(session.session_id, _response, now=self._now())
        if booking is None or booking.response is None:
            raise Unavailable("The slot was released while the session was paid for.")
        return BookSessionResponse.FromString(booking.response)

    def _start_to_abandon(self, session: Session) -> asyncio.Task[None]:
        """Release the slot in a task of its own: the call may be over, and the time it had."""
        task = asyncio.create_task(self._abandon(session))
        self._abandoning.add(task)
        task.add_done_callback(self._abandoning.discard)
        return task

    async def _abandon(self, session: Session) -> None:
        with detached_work(session.correlation_id):
            try:
                await self._store.release(session.session_id, now=self._now())
            except ServiceError as error:  # the hold expires by itself
                _log.warning("slot not released yet", session_id=str(session.session_id), error=repr(error))


def _response(session: Session) -> bytes:
    return BookSessionResponse(session=session_message(session)).SerializeToString()
