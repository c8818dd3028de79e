"""Test environment of a booking: the real services that it calls, a mail inbox, and members and gyms."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from local.mail_sink import read_mails
from services.communication import app as communication
from services.gym import app as gym
from services.payment import app as payment
from services.session import app as session
from services.user import app as user
from solo60.common.v1.money_pb2 import Money
from solo60.common.v1.period_pb2 import Period
from solo60.gym.v1.gym_pb2 import CreateGymRequest
from solo60.gym.v1.gym_pb2_grpc import GymServiceStub
from solo60.payment.v1.payment_pb2 import (
    CardMethod,
    CreditsMethod,
    GetBalanceRequest,
    GrantCreditsRequest,
    ListSessionPaymentsRequest,
    PaymentMethod,
    PaymentStatus,
)
from solo60.payment.v1.payment_pb2_grpc import PaymentServiceStub
from solo60.session.v1.session_pb2 import (
    BookSessionRequest,
    CheckConflictsRequest,
    GetSessionRequest,
    ListUserSessionsRequest,
    Session,
)
from solo60.session.v1.session_pb2_grpc import SessionServiceStub
from solo60.user.v1.user_pb2 import CreateUserRequest
from solo60.user.v1.user_pb2_grpc import UserServiceStub
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from local.mail_sink import Mail
    from solo60.gym.v1.gym_pb2_grpc import GymServiceAsyncStub
    from solo60.payment.v1.payment_pb2_grpc import PaymentServiceAsyncStub
    from solo60.session.v1.session_pb2_grpc import SessionServiceAsyncStub
    from solo60.user.v1.user_pb2_grpc import UserServiceAsyncStub
    from tests.support.serving import MeshForTests

SERVICES = {each.SERVICE.name: each.SERVICE for each in (user, gym, payment, communication, session)}
BY_CREDITS = PaymentMethod(credits=CreditsMethod())
BY_CARD = PaymentMethod(card=CardMethod(card_token="tok_visa"))  # noqa: S106 - a test card
BY_DECLINED_CARD = PaymentMethod(card=CardMethod(card_token="tok_declined"))  # noqa: S106 - a test card
TOMORROW = datetime.now(UTC).replace(hour=18, minute=0, second=0, microsecond=0) + timedelta(days=1)
HOUR = timedelta(hours=1)
# An hour costs £12.50 or 3 credits.
CREDITS_PER_HOUR = 3
PENDING_WORK = """
    select (select count(*) from outbox where status = 'pending')
        + (select count(*) from sessions where expire_time <= now())
"""


@dataclass(frozen=True, slots=True)
class BookingMesh:
    """Running mesh with stubs that have every scope, and shortcuts for common calls."""

    mesh: MeshForTests
    urls: dict[str, str]
    inbox_folder: Path

    @property
    def sessions(self) -> SessionServiceAsyncStub:
        """Stub of the session service, which is under test."""
        return self.mesh.stub(SessionServiceStub)

    @property
    def users(self) -> UserServiceAsyncStub:
        """Stub of the user service."""
        return self.mesh.stub(UserServiceStub)

    @property
    def gyms(self) -> GymServiceAsyncStub:
        """Stub of the gym service."""
        return self.mesh.stub(GymServiceStub)

    @property
    def payments(self) -> PaymentServiceAsyncStub:
        """Stub of the payment service."""
        return self.mesh.stub(PaymentServiceStub)

    async def stop(self, name: str) -> None:
        """Stop a service."""
        await self.mesh.stop(name)

    async def start(self, name: str) -> None:
        """Restart a stopped service on its database."""
        await self.mesh.start(SERVICES[name], self.urls[name])
        # Other services may reach the restarted service before the test does, and complete pending work.
        await self.mesh.wait_until_connected(name)

    async def create_member(self, *, credits_granted: int = 100, **fields: Any) -> str:
        """Add a member and return the id."""
        given = {"email": f"{uuid4().hex}@members.example", "display_name": "Ada Byron", **fields}
        user_id = (await self.users.CreateUser(CreateUserRequest(**given))).user.user_id
        if credits_granted:
            request = GrantCreditsRequest(user_id=user_id, credits=credits_granted, reason="goodwill")
            await self.payments.GrantCredits(request)
        return user_id

    async def create_gym(self, **fields: Any) -> str:
        """Add a gym and return the id."""
        given = {
            "name": f"Gym {uuid4().hex}",
            "time_zone": "Europe/London",
            "price_per_hour": Money(currency_code="GBP", minor_units=1250),
            "credits_per_hour": CREDITS_PER_HOUR,
            **fields,
        }
        return (await self.gyms.CreateGym(CreateGymRequest(**given))).gym.gym_id

    async def book(self, request: BookSessionRequest) -> Session:
        """Book and return the session."""
        return (await self.sessions.BookSession(request)).session

    async def find_session(self, session_id: str) -> Session:
        """Return the session as stored now."""
        return (await self.sessions.GetSession(GetSessionRequest(session_id=session_id))).session

    async def sessions_of(self, user_id: str) -> list[Session]:
        """Return all sessions of a member, including cancelled ones."""
        return list((await self.sessions.ListUserSessions(ListUserSessionsRequest(user_id=user_id))).sessions)

    async def busy_periods(self, gym_id: str, start: datetime = TOMORROW, length: timedelta = HOUR) -> list[Period]:
        """Return the booked periods that overlap a period."""
        request = CheckConflictsRequest(gym_id=gym_id, period=period(start, length))
        return list((await self.sessions.CheckConflicts(request)).conflicting_periods)

    async def balance(self, user_id: str) -> int:
        """Return a member's credits."""
        return (await self.payments.GetBalance(GetBalanceRequest(user_id=user_id))).credits

    async def payment_statuses(self, session_id: str) -> list[str]:
        """Return the statuses of a session's payments, for example "CAPTURED"."""
        found = await self.payments.ListSessionPayments(ListSessionPaymentsRequest(session_id=session_id))
        return [PaymentStatus.Name(each.status).removeprefix("PAYMENT_STATUS_") for each in found.payments]

    async def pending_work(self) -> int:
        """Count pending outbox messages and expired holds."""
        async with self.mesh.database("session").connection() as connection:
            return int(await connection.fetchval(PENDING_WORK))

    async def wait_until_settled(self) -> None:
        """Wait until no outbox message is pending and no expired hold is left."""

        async def is_settled() -> bool:
            return await self.pending_work() == 0

        await eventually(is_settled)

    async def wait_for_mails(self, count: int) -> list[Mail]:
        """Wait until all pending work is done and all mail, at least `count` mails, has arrived. Return all mails."""
        await self.wait_until_settled()

        async def have_arrived() -> bool:
            async with self.mesh.database("communication").connection() as connection:
                stored = int(await connection.fetchval("select count(*) from messages"))
            return len(read_mails(self.inbox_folder)) >= max(count, stored)

        await eventually(have_arrived)
        return read_mails(self.inbox_folder)


def period(start: datetime = TOMORROW, length: timedelta = HOUR) -> Period:
    """Return a period."""
    message = Period()
    message.start_time.FromDatetime(start)
    message.end_time.FromDatetime(start + length)
    return message


def book_request(
    user_id: str,
    gym_id: str,
    *,
    start: datetime = TOMORROW,
    length: timedelta = HOUR,
    by: PaymentMethod = BY_CREDITS,
) -> BookSessionRequest:
    """Return a request for an hour tomorrow, by default paid in credits."""
    return BookSessionRequest(user_id=user_id, gym_id=gym_id, period=period(start, length), payment_method=by)


def with_key(key: str) -> tuple[tuple[str, str]]:
    """Return call metadata with this idempotency key."""
    return (("idempotency-key", key),)
