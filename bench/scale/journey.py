"""Measured calls that change something: the life of a booking, with a guest, a waiting member and an offer."""

from __future__ import annotations

import time
import uuid
from collections import defaultdict
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from bench.scale.population import NOW, USER, id_of, period
from bench.scale.reads import BUSY_GYM
from interceptors.idempotency import IDEMPOTENCY_KEY
from solo60.common.v1.money_pb2 import Money
from solo60.payment.v1.payment_pb2 import ChargeSessionRequest, CreditsMethod, PaymentMethod, RefundSessionRequest
from solo60.payment.v1.payment_pb2_grpc import PaymentServiceStub
from solo60.session.v1.session_pb2 import (
    BookSessionRequest,
    CancelSessionRequest,
    ClaimOfferRequest,
    GetOfferRequest,
    InviteGuestRequest,
    JoinWaitingListRequest,
    ListGuestsRequest,
    RescheduleSessionRequest,
)
from solo60.session.v1.session_pb2_grpc import SessionServiceStub
from solo60.user.v1.user_pb2 import CreateUserRequest
from solo60.user.v1.user_pb2_grpc import UserServiceStub

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from datetime import datetime

    from google.protobuf.message import Message

    from bench.scale.reads import Stubs

HOUR = timedelta(hours=1)
# Beginnings of two free hours, each day.
FREE_HOURS = (9, 13, 15, 20)
# Active members who book, or wait, in turn.
MEMBERS = 35
BY_CREDITS = PaymentMethod(credits=CreditsMethod())
PRICE = Money(currency_code="GBP", minor_units=1250)


class Method(Protocol):
    """A stub's method, called with metadata."""

    async def __call__(self, request: Any, *, metadata: Sequence[tuple[str, str]]) -> Any:  # noqa: ANN401 - any message
        """Make the call."""


class Journeys:
    """Client that makes one journey after another and records the duration of each call in seconds, by name."""

    def __init__(self, stubs: Stubs, find_open_offer: Callable[[], Awaitable[uuid.UUID]]) -> None:
        self.durations_s: dict[str, list[float]] = defaultdict(list)
        self._sessions = stubs(SessionServiceStub)
        self._payments = stubs(PaymentServiceStub)
        self._users = stubs(UserServiceStub)
        self._find_open_offer = find_open_offer

    async def make(self, number: int) -> None:
        """Book a free hour, move it, and cancel it while another member waits, who then claims the offered slot."""
        member, waiting = id_of(USER, 2 + number % MEMBERS), id_of(USER, 60 + number % MEMBERS)
        start = _free_hour(number)
        hour, next_hour = period(start, HOUR), period(start + HOUR, HOUR)
        order = BookSessionRequest(user_id=member, gym_id=BUSY_GYM, period=hour, payment_method=BY_CREDITS)
        session = (await self._timed(self._sessions.BookSession, order)).session
        guest = InviteGuestRequest(session_id=session.session_id, email="guest@guests.example", name="Guest")
        await self._timed(self._sessions.InviteGuest, guest)
        await self._timed(self._sessions.ListGuests, ListGuestsRequest(session_id=session.session_id))
        move = RescheduleSessionRequest(session_id=session.session_id, period=next_hour, etag=session.etag)
        await self._timed(self._sessions.RescheduleSession, move)
        wish = JoinWaitingListRequest(user_id=waiting, gym_id=BUSY_GYM, period=next_hour)
        await self._timed(self._sessions.JoinWaitingList, wish)
        await self._timed(self._sessions.CancelSession, CancelSessionRequest(session_id=session.session_id))
        offer_id = str(await self._find_open_offer())
        await self._timed(self._sessions.GetOffer, GetOfferRequest(offer_id=offer_id))
        claim = ClaimOfferRequest(offer_id=offer_id, payment_method=BY_CREDITS)
        await self._timed(self._sessions.ClaimOffer, claim)
        await self._pay(member)

    async def _pay(self, member: str) -> None:
        """Charge a session and refund it, and add a member."""
        session_id = str(uuid.uuid4())
        charge = ChargeSessionRequest(
            session_id=session_id, user_id=member, price=PRICE, credits=10, payment_method=BY_CREDITS
        )
        await self._timed(self._payments.ChargeSession, charge)
        await self._timed(self._payments.RefundSession, RefundSessionRequest(session_id=session_id, reason="moved"))
        new = CreateUserRequest(email=f"{uuid.uuid4().hex}@members.example", display_name="Mary Anderson")
        await self._timed(self._users.CreateUser, new)

    async def _timed(self, method: Method, request: Message) -> Any:  # noqa: ANN401 - the answer of any method
        began = time.perf_counter()
        answer = await method(request, metadata=((IDEMPOTENCY_KEY, uuid.uuid4().hex),))
        service, _, name = type(request).DESCRIPTOR.full_name.removeprefix("solo60.").partition(".v1.")
        self.durations_s[f"{service}.{name.removesuffix('Request')}"].append(time.perf_counter() - began)
        return answer


def _free_hour(number: int) -> datetime:
    days, index = divmod(number, len(FREE_HOURS))
    return NOW.astimezone(UTC).replace(minute=0, second=0, microsecond=0, hour=FREE_HOURS[index]) + timedelta(
        days=2 + days
    )
