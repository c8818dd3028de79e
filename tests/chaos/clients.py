"""Well-behaved clients that book, pay and cancel while the mesh breaks.

A client repeats a call with the same idempotency key until the outcome is known. `consistency` compares the outcomes
that clients saw with the final state of the mesh.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

from contracts.errors import ServiceError
from contracts.service_error import FIRST_DOMAIN_REASON
from interceptors.idempotency import IDEMPOTENCY_KEY
from solo60.common.v1.money_pb2 import Money
from solo60.common.v1.period_pb2 import Period
from solo60.gym.v1.gym_pb2 import WAITING_LIST_MODE_NOTIFY_ALL, WAITING_LIST_MODE_OFFER_ONE, CreateGymRequest
from solo60.gym.v1.gym_pb2_grpc import GymServiceStub
from solo60.payment.v1.payment_pb2 import CardMethod, CreditsMethod, GrantCreditsRequest, PaymentMethod
from solo60.payment.v1.payment_pb2_grpc import PaymentServiceStub
from solo60.session.v1.session_pb2 import BookSessionRequest, CancelSessionRequest, JoinWaitingListRequest
from solo60.session.v1.session_pb2_grpc import SessionServiceStub
from solo60.user.v1.user_pb2 import CreateUserRequest
from solo60.user.v1.user_pb2_grpc import UserServiceStub
from tests.chaos.journeys import GYMS, Answer, Journey, Outcome, is_noisy, offers_slots

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from mesh.serving.channel import Channels

T = TypeVar("T")

CREDITS_PER_HOUR = 3
# Enough for a second charge, so that a double charge would succeed and be noticed.
CREDITS_GRANTED = 3 * CREDITS_PER_HOUR
NOISE_POLICY = "No dropped weights."
MAX_CONCURRENT_JOURNEYS = 16
TIMEOUT_S = 120.0
MAX_PAUSE_S = 1.0
SLOT_REFUSALS = ("SLOT_TAKEN", "SLOT_OFFERED")
FIRST_HOUR = (datetime.now(UTC) + timedelta(days=2)).replace(minute=0, second=0, microsecond=0)
HOUR = timedelta(hours=1)

_METHODS = {
    "credits": PaymentMethod(credits=CreditsMethod()),
    "no credits": PaymentMethod(credits=CreditsMethod()),
    "card": PaymentMethod(card=CardMethod(card_token="tok_visa")),  # noqa: S106 - a test card
    "declined card": PaymentMethod(card=CardMethod(card_token="tok_declined")),  # noqa: S106 - a test card
}


class RejectedError(Exception):
    """Definite rejection of a call."""


class UnknownOutcomeError(Exception):
    """Unknown outcome of a call after the client has given up."""


@dataclass(slots=True)
class Clients:
    """All clients of one run, with a count of the mesh's answers."""

    channels: Channels
    seed: int
    gym_ids: list[str] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)

    async def open_gyms(self) -> None:
        """Create the gyms; every other one has a noise policy."""
        gyms = self.channels.stub(GymServiceStub)
        rng = random.Random(f"{self.seed}/gyms")  # noqa: S311 - only for pauses
        for number in range(GYMS):
            request = CreateGymRequest(
                name=f"Gym {number}",
                time_zone="UTC",
                price_per_hour=Money(currency_code="GBP", minor_units=500),
                credits_per_hour=CREDITS_PER_HOUR,
                noise_policy=NOISE_POLICY if is_noisy(number) else "",
                waiting_list_mode=WAITING_LIST_MODE_OFFER_ONE if offers_slots(number) else WAITING_LIST_MODE_NOTIFY_ALL,
            )
            key = _key(f"open/{self.seed}/{number}")
            answer = await self._repeat(partial(gyms.CreateGym, request, metadata=key), rng)
            self.gym_ids.append(answer.gym.gym_id)

    async def run(self, journeys: Sequence[Journey], begun: Callable[[int], None]) -> list[Outcome]:
        """Make all journeys, at most MAX_CONCURRENT_JOURNEYS at a time; pass their count to `begun`."""
        turns = asyncio.Semaphore(MAX_CONCURRENT_JOURNEYS)

        async def run(journey: Journey) -> Outcome:
            async with turns:
                begun(journey.number + 1)
                return await self._run(journey)

        async with asyncio.TaskGroup() as group:
            running = [group.create_task(run(journey)) for journey in journeys]
        return [each.result() for each in running]

    async def _run(self, journey: Journey) -> Outcome:
        outcome = Outcome(journey)
        rng = random.Random(f"{self.seed}/{journey.number}")  # noqa: S311 - only for pauses
        try:
            await self._join(outcome, rng)
            await self._book(outcome, rng)
            if outcome.session_id is not None and journey.cancels:
                await self._cancel(outcome, rng)
        except (UnknownOutcomeError, RejectedError):
            pass  # `outcome` has the answer
        return outcome

    async def _join(self, outcome: Outcome, rng: random.Random) -> None:
        journey = outcome.journey
        users, payments = self.channels.stub(UserServiceStub), self.channels.stub(PaymentServiceStub)
        member = CreateUserRequest(email=journey.email, display_name=f"Member {journey.number}")
        user = (await self._repeat(lambda: users.CreateUser(member, metadata=self._key("join", journey)), rng)).user
        outcome.user_id = UUID(user.user_id)
        if journey.payment_method == "no credits":
            return
        outcome.granted = Answer.UNKNOWN
        grant = GrantCreditsRequest(user_id=user.user_id, credits=CREDITS_GRANTED, reason="chaos")
        await self._repeat(lambda: payments.GrantCredits(grant, metadata=self._key("grant", journey)), rng)
        outcome.granted = Answer.ACKNOWLEDGED

    async def _book(self, outcome: Outcome, rng: random.Random) -> None:
        journey = outcome.journey
        sessions = self.channels.stub(SessionServiceStub)
        request = BookSessionRequest(
            user_id=str(outcome.user_id),
            gym_id=self.gym_ids[journey.gym],
            period=_hour(journey.hour),
            payment_method=_METHODS[journey.payment_method],
        )
        key, timeout_s = self._key("book", journey), journey.booking_timeout_s
        outcome.booked = Answer.UNKNOWN
        try:
            answer = await self._repeat(
                lambda: sessions.BookSession(request, metadata=key, timeout=timeout_s),
                rng,
                once=timeout_s is not None,
            )
        except RejectedError as error:
            outcome.booked, outcome.refusal = Answer.REFUSED, str(error)
            if str(error) in SLOT_REFUSALS:
                await self._wait(request, journey, rng)
            raise
        outcome.booked, outcome.session_id = Answer.ACKNOWLEDGED, UUID(answer.session.session_id)

    async def _wait(self, wanted: BookSessionRequest, journey: Journey, rng: random.Random) -> None:
        """Join the waiting list of a slot that another member has. The member never claims an offer."""
        sessions = self.channels.stub(SessionServiceStub)
        request = JoinWaitingListRequest(user_id=wanted.user_id, gym_id=wanted.gym_id, period=wanted.period)
        key = self._key("wait", journey)
        await self._repeat(lambda: sessions.JoinWaitingList(request, metadata=key), rng)

    async def _cancel(self, outcome: Outcome, rng: random.Random) -> None:
        sessions = self.channels.stub(SessionServiceStub)
        request = CancelSessionRequest(session_id=str(outcome.session_id), reason="chaos")
        outcome.cancelled = Answer.UNKNOWN
        try:
            await self._repeat(lambda: sessions.CancelSession(request), rng)
        except RejectedError as error:
            outcome.cancelled, outcome.refusal = Answer.REFUSED, str(error)
            raise
        outcome.cancelled = Answer.ACKNOWLEDGED

    async def _repeat(self, call: Callable[[], Awaitable[T]], rng: random.Random, *, once: bool = False) -> T:
        """Call until the answer is definite; raise RejectedError, or UnknownOutcomeError after TIMEOUT_S."""
        pause_s = 0.05
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + (0.0 if once else TIMEOUT_S)
        while True:
            try:
                answer = await call()
            except ServiceError as error:
                reason = error.reason_name() or error.code.name
                self.answers[reason] += 1
                if error.reason >= FIRST_DOMAIN_REASON:
                    raise RejectedError(reason) from error
                if loop.time() >= give_up_at:
                    raise UnknownOutcomeError(reason) from error
            else:
                self.answers["OK"] += 1
                return answer
            await asyncio.sleep(rng.uniform(pause_s / 2, pause_s))
            pause_s = min(MAX_PAUSE_S, 2 * pause_s)

    def _key(self, call: str, journey: Journey) -> tuple[tuple[str, str]]:
        return _key(f"{call}/{self.seed}/{journey.number}")


def _key(name: str) -> tuple[tuple[str, str]]:
    return ((IDEMPOTENCY_KEY, name),)


def _hour(number: int) -> Period:
    period = Period()
    period.start_time.FromDatetime(FIRST_HOUR + number * HOUR)
    period.end_time.FromDatetime(FIRST_HOUR + (number + 1) * HOUR)
    return period
