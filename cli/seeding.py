"""Creation of a gym chain on a running mesh, by the calls that a real chain would make."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from cli.gym_chain import Payment, bookings, members
from cli.gyms import GYMS, LONDON, gym_named
from contracts.errors import (
    AlreadySubscribed,
    AlreadyWaiting,
    CircuitOpen,
    EmailTaken,
    GuestAlreadyInvited,
    GymClosed,
    GymNameTaken,
    InsufficientCredits,
    Overloaded,
    RateLimited,
    SlotFree,
    SlotOffered,
    SlotTaken,
    TrialUsed,
    Unavailable,
)
from interceptors.idempotency import IDEMPOTENCY_KEY
from solo60.common.v1.period_pb2 import Period
from solo60.gym.v1.gym_pb2_grpc import GymServiceStub
from solo60.payment.v1 import payment_pb2
from solo60.payment.v1.payment_pb2_grpc import PaymentServiceStub
from solo60.session.v1.session_pb2 import (
    BookSessionRequest,
    CancelSessionRequest,
    InviteGuestRequest,
    JoinWaitingListRequest,
)
from solo60.session.v1.session_pb2_grpc import SessionServiceStub
from solo60.subscription.v1 import subscription_pb2
from solo60.subscription.v1.subscription_pb2_grpc import SubscriptionServiceStub
from solo60.user.v1.user_pb2 import CreateUserRequest, GetUserByEmailRequest
from solo60.user.v1.user_pb2_grpc import UserServiceStub

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from cli.gym_chain import PlannedBooking, PlannedMember
    from mesh.serving.channel import Channels
    from solo60.gym.v1.gym_pb2 import CreateGymRequest

T = TypeVar("T")

CONCURRENCY = 12
CARD = "tok_visa"
# Temporary errors of a busy mesh.
BUSY = (Unavailable, Overloaded, RateLimited, CircuitOpen)
MAX_ATTEMPTS = 8
PAUSE_S = 0.2


class GymChain:
    """Creator of a gym chain. `counts` has the number of its records by kind, with those of an interrupted run.

    A repeated run with the same random seed on the same day creates nothing twice: each call has its own idempotency
    key, and existing gyms and users are used again.
    """

    def __init__(self, channels: Channels, random_seed: int, now: datetime) -> None:
        self._gyms = channels.stub(GymServiceStub)
        self._users = channels.stub(UserServiceStub)
        self._payments = channels.stub(PaymentServiceStub)
        self._sessions = channels.stub(SessionServiceStub)
        self._subscriptions = channels.stub(SubscriptionServiceStub)
        self._random_seed = random_seed
        self._now = now
        self._gym_ids: list[str] = []
        self._plan_ids: list[str] = []
        self.counts: Counter[str] = Counter()

    async def open_gyms(self) -> None:
        """Create the gyms that do not exist yet, and read the subscription plans."""
        for number, plan in enumerate(GYMS):
            self._gym_ids.append(await self._gym(plan, ((IDEMPOTENCY_KEY, f"seed/gym/{number}"),)))
        plans = await self._subscriptions.ListPlans(subscription_pb2.ListPlansRequest())
        self._plan_ids = [plan.plan_id for plan in plans.plans]

    async def add_members(self, count: int, on_member: Callable[[], None]) -> None:
        """Create `count` members with their credits, subscriptions and bookings; call `on_member` after each.

        Raises ServiceError if a call fails for another reason than a taken slot or a busy mesh.
        """
        planned = members(count, random.Random(self._random_seed))  # noqa: S311 - not a secret

        async def worker() -> None:
            for member in planned:
                await self._add(member)
                on_member()

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(CONCURRENCY):
                    group.create_task(worker())
        except ExceptionGroup as failures:
            # One error stops all workers. The command prints a ServiceError, but no group of them.
            raise failures.exceptions[0] from None

    async def _add(self, member: PlannedMember) -> None:
        user_id = await self._user(member)
        if member.payment is Payment.SUBSCRIPTION:
            await self._subscribe(member, user_id)
        elif member.payment is Payment.CREDITS:
            grant = payment_pb2.GrantCreditsRequest(user_id=user_id, credits=member.credits, reason="Starting credits")
            await self._call(lambda: self._payments.GrantCredits(grant, metadata=self._key("grant", member)))
        rng = random.Random(f"{self._random_seed}/{member.number}/{self._now.date()}")  # noqa: S311 - not a secret
        for number, booking in enumerate(bookings(rng, self._now)):
            await self._book(member, user_id, booking, number)

    async def _gym(self, plan: CreateGymRequest, key: tuple[tuple[str, str]]) -> str:
        try:
            created = await self._call(lambda: self._gyms.CreateGym(plan, metadata=key))
        except GymNameTaken:
            existing = await gym_named(self._gyms, plan.name)
            if existing is None:  # it was renamed in between
                raise
            return existing.gym_id
        self.counts["gyms"] += 1
        return created.gym.gym_id

    async def _user(self, member: PlannedMember) -> str:
        request = CreateUserRequest(email=member.email, display_name=member.name, time_zone=LONDON)
        try:
            answer = await self._call(lambda: self._users.CreateUser(request, metadata=self._key("user", member)))
        except EmailTaken:
            by_email = GetUserByEmailRequest(email=member.email)
            return (await self._call(lambda: self._users.GetUserByEmail(by_email))).user.user_id
        self.counts["members"] += 1
        return answer.user.user_id

    async def _subscribe(self, member: PlannedMember, user_id: str) -> None:
        request = subscription_pb2.CreateSubscriptionRequest(
            user_id=user_id,
            plan_id=self._plan_ids[member.number % len(self._plan_ids)],
            payment_method=subscription_pb2.PaymentMethod(card_token=CARD),
        )
        key = self._key("subscription", member)
        try:
            await self._call(lambda: self._subscriptions.CreateSubscription(request, metadata=key))
        except (AlreadySubscribed, TrialUsed):
            return
        self.counts["subscriptions"] += 1

    async def _book(self, member: PlannedMember, user_id: str, booking: PlannedBooking, number: int) -> None:
        period = Period()
        period.start_time.FromDatetime(booking.start)
        period.end_time.FromDatetime(booking.end)
        request = BookSessionRequest(
            user_id=user_id, gym_id=self._gym_ids[booking.gym], period=period, payment_method=_method(member.payment)
        )
        key = self._key(f"{self._now.date()}/booking/{number}", member)
        try:
            booked = await self._call(lambda: self._sessions.BookSession(request, metadata=key))
        except (SlotTaken, SlotOffered):
            await self._wait_for(request, key)
        except (InsufficientCredits, GymClosed):
            self.counts["refused bookings"] += 1
        else:
            self.counts["bookings"] += 1
            await self._continue(booked.session.session_id, booking, key)

    async def _wait_for(self, booking: BookSessionRequest, key: tuple[tuple[str, str]]) -> None:
        request = JoinWaitingListRequest(user_id=booking.user_id, gym_id=booking.gym_id, period=booking.period)
        try:
            await self._call(lambda: self._sessions.JoinWaitingList(request, metadata=key))
        except (AlreadyWaiting, SlotFree):
            return
        self.counts["waiting list entries"] += 1

    async def _continue(self, session_id: str, booking: PlannedBooking, key: tuple[tuple[str, str]]) -> None:
        if booking.guest:
            email = f"{booking.guest.lower()}@solo60.example"
            invite = InviteGuestRequest(session_id=session_id, email=email, name=booking.guest)
            with suppress(GuestAlreadyInvited):
                await self._call(lambda: self._sessions.InviteGuest(invite, metadata=key))
                self.counts["guests"] += 1
        if booking.is_cancelled:
            cancel = CancelSessionRequest(session_id=session_id, reason="I cannot come.")
            await self._call(lambda: self._sessions.CancelSession(cancel))
            self.counts["cancellations"] += 1

    async def _call(self, call: Callable[[], Awaitable[T]]) -> T:
        """Make a call, and repeat it with the same key while the mesh is busy."""
        for attempt in range(1, MAX_ATTEMPTS):
            try:
                return await call()
            except BUSY as error:
                await asyncio.sleep(error.retry_after_s or PAUSE_S * attempt)
        return await call()

    def _key(self, call: str, member: PlannedMember) -> tuple[tuple[str, str]]:
        return ((IDEMPOTENCY_KEY, f"seed/{self._random_seed}/{member.number}/{call}"),)


def _method(payment: Payment) -> payment_pb2.PaymentMethod:
    # The credits of a new subscription arrive through the outbox, perhaps after the first booking.
    if payment is not Payment.CREDITS:
        return payment_pb2.PaymentMethod(card=payment_pb2.CardMethod(card_token=CARD))
    return payment_pb2.PaymentMethod(credits=payment_pb2.CreditsMethod())
