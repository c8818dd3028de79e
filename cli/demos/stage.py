"""Stage of a story: the running mesh, and what every story needs of it."""

from __future__ import annotations

import uuid
from contextlib import suppress
from email.utils import getaddresses
from typing import TYPE_CHECKING, TypeVar

from cli.demos.evidence import Inbox
from cli.demos.hours import WINDOW, free_hours, window_after
from cli.demos.story import Person, Step
from cli.demos.waiting import until
from cli.gyms import LONDON, created_or_found
from cli.terminal import CommandError
from contracts.errors import SlotOffered, SlotTaken
from local.movable_clock import clock_of_mesh
from solo60.auth.v1.auth_pb2_grpc import AuthServiceStub
from solo60.gym.v1.gym_pb2_grpc import GymServiceStub
from solo60.mesh.v1.outbox_pb2 import GetScheduleRequest
from solo60.mesh.v1.outbox_pb2_grpc import OutboxServiceStub
from solo60.payment.v1.payment_pb2 import GetBalanceRequest, GrantCreditsRequest, ListSessionPaymentsRequest
from solo60.payment.v1.payment_pb2_grpc import PaymentServiceStub
from solo60.session.v1.session_pb2 import BookSessionRequest, CheckConflictsRequest
from solo60.session.v1.session_pb2_grpc import SessionServiceStub
from solo60.subscription.v1.subscription_pb2_grpc import SubscriptionServiceStub
from solo60.user.v1.user_pb2 import CreateUserRequest
from solo60.user.v1.user_pb2_grpc import UserServiceStub

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from cli.demos.story import Fact, ReceivedMail
    from mesh.config import Settings
    from mesh.serving.channel import Channels
    from mesh.telemetry.spans import StoredSpan
    from solo60.common.v1.period_pb2 import Period
    from solo60.gym.v1.gym_pb2 import CreateGymRequest, Gym
    from solo60.payment.v1.payment_pb2 import Payment, PaymentMethod
    from solo60.session.v1.session_pb2 import Session

T = TypeVar("T")


class Stage:
    """Stage of one story: stubs of the services, the clock of the mesh, and the mails of the story's people."""

    def __init__(self, settings: Settings, channels: Channels) -> None:
        self.settings = settings
        self.clock = clock_of_mesh(settings)
        self.inbox = Inbox(settings)
        self.auth = channels.stub(AuthServiceStub)
        self.users = channels.stub(UserServiceStub)
        self.gyms = channels.stub(GymServiceStub)
        self.sessions = channels.stub(SessionServiceStub)
        self.payments = channels.stub(PaymentServiceStub)
        self.subscriptions = channels.stub(SubscriptionServiceStub)
        self._outbox_of_gyms = channels.stub(OutboxServiceStub, at="gym")

    def step(
        self,
        name: str,
        sentence: str,
        facts: Mapping[str, Fact],
        *,
        mails: Sequence[ReceivedMail] = (),
        spans: Sequence[StoredSpan] = (),
    ) -> Step:
        """Return a step that happens now."""
        return Step(name, sentence, self.clock.now(), facts, tuple(mails), tuple(spans))

    async def member(self, name: str, initial_credits: int = 0) -> Person:
        """Create a member with a new address, and grant credits."""
        person = person_of(name)
        request = CreateUserRequest(email=person.email, display_name=name, time_zone=LONDON)
        user_id = (await self.users.CreateUser(request)).user.user_id
        if initial_credits:
            reason = "Welcome to the demo."
            grant = GrantCreditsRequest(user_id=user_id, credits=initial_credits, reason=reason)
            await self.payments.GrantCredits(grant)
        return Person(name, person.email, user_id)

    @property
    def admins(self) -> Person:
        """The admins, as the recipient of their mails."""
        ((_, address), *_others) = getaddresses([self.settings.admins_email])
        return Person("the admins", address)

    async def balance(self, person: Person) -> int:
        """Return a member's credits."""
        return (await self.payments.GetBalance(GetBalanceRequest(user_id=person.user_id))).credits

    async def gym(self, plan: CreateGymRequest) -> Gym:
        """Return the gym of `plan`, which is created unless it exists.

        Raises CommandError if an existing gym has other rules for its waiting list or its approval.
        """
        gym, is_new = await created_or_found(self.gyms, plan)
        if (gym.waiting_list_mode, gym.requires_approval) != (plan.waiting_list_mode, plan.requires_approval):
            raise CommandError(f"{gym.name} was created with other rules. `make reset` deletes the mesh's data.")
        if is_new:
            await until(self._count_gym_events, lambda count: count == 0, f"the events of {gym.name}")
        return gym

    async def _count_gym_events(self) -> int:
        """Return the number of events of gyms that are on their way, such as the mode of a waiting list."""
        return (await self._outbox_of_gyms.GetSchedule(GetScheduleRequest())).due_count

    async def _first_free_hour(self, gym: Gym) -> Period:
        window = window_after(self.clock.now())
        request = CheckConflictsRequest(gym_id=gym.gym_id, period=window)
        taken = (await self.sessions.CheckConflicts(request)).conflicting_periods
        found = next(free_hours(gym, window, taken), None)
        if found is None:
            raise CommandError(
                f"{gym.name} has no free hour in the next {WINDOW.days} days. `make reset` deletes the mesh's data."
            )
        return found

    async def in_free_hour(self, gym: Gym, call: Callable[[Period], Awaitable[T]]) -> T:
        """Return the result of `call` with the first free hour of a gym, or with a later one if others book that."""
        while True:
            free = await self._first_free_hour(gym)
            with suppress(SlotTaken, SlotOffered):
                return await call(free)

    async def book(self, person: Person, gym: Gym, method: PaymentMethod) -> Session:
        """Book the first free hour of a gym that starts at least one hour from now."""

        async def call(free: Period) -> Session:
            request = BookSessionRequest(user_id=person.user_id, gym_id=gym.gym_id, period=free, payment_method=method)
            return (await self.sessions.BookSession(request)).session

        return await self.in_free_hour(gym, call)

    async def refunded_payment(self, session: Session) -> Payment:
        """Wait until the only payment of a session is refunded, and return it."""
        request = ListSessionPaymentsRequest(session_id=session.session_id)

        async def payment() -> Payment:
            (found,) = (await self.payments.ListSessionPayments(request)).payments
            return found

        return await until(payment, lambda found: found.HasField("refund"), "the refund")


def person_of(name: str) -> Person:
    """Return a person with a new address."""
    return Person(name, f"{name.split(maxsplit=1)[0].lower()}-{uuid.uuid4().hex[:12]}@solo60.example")
