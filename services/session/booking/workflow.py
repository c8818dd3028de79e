"""Booking: hold the slot, charge the member, confirm the session. If any step fails, the member pays nothing.

Other services are called between transactions, never within one. Every step is safe to repeat, so a retry after a crash
continues where the first attempt stopped.
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
from mesh.data.idempotency import mark_replayed
from services.session.wire import render_charge

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from uuid import UUID

    from services.session.booking.domain import Booking, BookingCall
    from services.session.booking.store import BookingStore
    from services.session.directory import Directory
    from services.session.offers.store import OfferStore
    from services.session.sessions.domain import Order, PaymentMethod, Session
    from solo60.payment.v1.payment_pb2_grpc import PaymentServiceAsyncStub

# Longer than the deadline of BookSession (10 s), so a hold outlives the call that created it.
HOLD_DURATION = timedelta(seconds=15)
REFUSALS = (CardDeclined, InsufficientCredits)

_log = structlog.stdlib.get_logger("solo60.session.booking")


class BookingWorkflow:
    """The steps of a booking: hold, charge and confirm."""

    def __init__(
        self,
        store: BookingStore,
        directory: Directory,
        offers: OfferStore,
        payments: PaymentServiceAsyncStub,
        now: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._directory = directory
        self._offers = offers
        self._payments = payments
        self._now = now
        self._abandoning: set[asyncio.Task[None]] = set()

    async def book(
        self, order: Order, card_token: str, call: BookingCall, respond: Callable[[Session], bytes]
    ) -> bytes:
        """Book a session and return the result of `respond`, which is stored with the confirmed session.

        If an earlier call with the same idempotency key has succeeded, return its stored response. `card_token` is
        empty if the order is paid in credits.

        Raises the errors listed in the contract of BookSession, and IdempotencyKeyReused. Raises Unavailable if the
        charge or the confirmation fails for another reason, including a charge with unknown outcome. After every
        failure the slot is released and any charge is refunded.
        """
        booking = await self._store.find(call) or await self._hold(order, call)
        return await self._complete(booking, card_token, respond)

    async def claim(
        self,
        offer_id: UUID,
        method: PaymentMethod,
        card_token: str,
        call: BookingCall,
        respond: Callable[[Session], bytes],
    ) -> bytes:
        """Book the slot of an offer, like `book`. After a failure, the offer is open again until it expires.

        Raises the errors listed in the contract of ClaimOffer, and those of `book` for a failed charge or confirmation.
        """
        booking = await self._store.find(call) or await self._claim(offer_id, method, call)
        return await self._complete(booking, card_token, respond)

    async def _complete(self, booking: Booking, card_token: str, respond: Callable[[Session], bytes]) -> bytes:
        """Charge the member for a held slot and confirm the session, or release the slot."""
        if booking.response is not None:
            mark_replayed()
            return booking.response
        try:
            return await self._charge_and_confirm(booking.session, card_token, respond)
        except BaseException as error:
            abandoning = self._start_to_abandon(booking.session)
            if not isinstance(error, Exception):
                raise  # cancelled: no caller is waiting for a response
            await asyncio.wait([abandoning])
            if isinstance(error, REFUSALS):
                raise
            if not isinstance(error, ServiceError):
                _log.exception("booking failed")
            raise Unavailable("The session could not be booked. Any charge is refunded. Try again.") from error

    async def _hold(self, order: Order, call: BookingCall) -> Booking:
        now = self._now()
        order.period.require_not_past(now)
        _, quote = await asyncio.gather(
            self._directory.require_active_user(order.user_id), self._directory.quote(order.gym_id, order.period)
        )
        return await self._store.hold(order, quote, call, now=now, expire_time=now + HOLD_DURATION)

    async def _claim(self, offer_id: UUID, method: PaymentMethod, call: BookingCall) -> Booking:
        offer = await self._offers.find(offer_id)
        await self._directory.require_active_user(offer.request.user_id)
        now = self._now()
        return await self._offers.claim(offer_id, method, call, now=now, expire_time=now + HOLD_DURATION)

    async def _charge_and_confirm(
        self, session: Session, card_token: str, respond: Callable[[Session], bytes]
    ) -> bytes:
        await self._payments.ChargeSession(render_charge(session, card_token))
        booking = await self._store.confirm(session.session_id, respond, now=self._now())
        if booking is None or booking.response is None:
            raise Unavailable("The slot was released before the payment was complete.")
        return booking.response

    def _start_to_abandon(self, session: Session) -> asyncio.Task[None]:
        """Release the slot in a separate task, because the call may be cancelled or past its deadline."""
        task = asyncio.create_task(self._abandon(session))
        self._abandoning.add(task)
        task.add_done_callback(self._abandoning.discard)
        return task

    async def _abandon(self, session: Session) -> None:
        with detached_work(session.correlation_id):
            try:
                await self._store.release(session.session_id, now=self._now())
            except ServiceError as error:  # the reconciler releases the slot when the hold expires
                _log.warning("slot not released yet", session_id=str(session.session_id), error=repr(error))
