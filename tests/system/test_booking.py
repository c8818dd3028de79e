from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from contracts.errors import SlotTaken
from local.folder_lock import read_published
from local.keys import OPERATOR
from local.mail_sink import read_mails
from local.service_databases import database_url_of
from mesh.serving.channel import Channels
from solo60.common.v1.money_pb2 import Money
from solo60.common.v1.period_pb2 import Period
from solo60.gym.v1.gym_pb2 import CreateGymRequest
from solo60.gym.v1.gym_pb2_grpc import GymServiceStub
from solo60.payment.v1.payment_pb2 import CreditsMethod, GrantCreditsRequest, PaymentMethod
from solo60.payment.v1.payment_pb2_grpc import PaymentServiceStub
from solo60.session.v1.session_pb2 import BookSessionRequest, BookSessionResponse, SessionStatus
from solo60.session.v1.session_pb2_grpc import SessionServiceStub
from solo60.user.v1.user_pb2 import CreateUserRequest, User
from solo60.user.v1.user_pb2_grpc import UserServiceStub
from tests.support.postgres import connection_to

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    import asyncpg

    from tests.support.local_mesh import LocalMesh

pytestmark = pytest.mark.system

PRICE_IN_CREDITS = 2
MAX_CONCURRENT_MEMBERS = 20
TIMEOUT_S = 60.0
FIRST_HOUR = (datetime.now(UTC) + timedelta(days=2)).replace(minute=0, second=0, microsecond=0)


class BookingClient:
    """Client of a running mesh that creates gyms and members and books sessions."""

    def __init__(self, channels: Channels) -> None:
        self._gyms = channels.stub(GymServiceStub)
        self._users = channels.stub(UserServiceStub)
        self._payments = channels.stub(PaymentServiceStub)
        self._sessions = channels.stub(SessionServiceStub)

    async def gym(self) -> str:
        """Create a gym without opening hours or noise policy; return its id."""
        price = Money(currency_code="GBP", minor_units=500)
        request = CreateGymRequest(
            name=f"Gym {uuid4()}", time_zone="UTC", price_per_hour=price, credits_per_hour=PRICE_IN_CREDITS
        )
        return (await self._gyms.CreateGym(request)).gym.gym_id

    async def join(self, number: int) -> list[User]:
        """Create `number` members, each with credits for one hour."""
        turns = asyncio.Semaphore(MAX_CONCURRENT_MEMBERS)

        async def add() -> User:
            async with turns:
                request = CreateUserRequest(email=f"{uuid4()}@solo60.example", display_name="Member")
                user = (await self._users.CreateUser(request)).user
                grant = GrantCreditsRequest(user_id=user.user_id, credits=PRICE_IN_CREDITS, reason="For a test.")
                await self._payments.GrantCredits(grant)
                return user

        return await asyncio.gather(*(add() for _ in range(number)))

    async def book(self, user: User, gym_id: str, start: datetime) -> BookSessionResponse:
        """Book one hour from `start` and pay with credits."""
        period = Period()
        period.start_time.FromDatetime(start)
        period.end_time.FromDatetime(start + timedelta(hours=1))
        method = PaymentMethod(credits=CreditsMethod())
        request = BookSessionRequest(user_id=user.user_id, gym_id=gym_id, period=period, payment_method=method)
        return await self._sessions.BookSession(request)


@asynccontextmanager
async def client_of(mesh: LocalMesh) -> AsyncIterator[BookingClient]:
    """Connect to a running mesh as its operator."""
    key = mesh.settings.key_path_of(OPERATOR).read_text().strip()
    channels = Channels(mesh.settings, lambda: key)
    try:
        yield BookingClient(channels)
    finally:
        await channels.close()


def database_of(mesh: LocalMesh, name: str) -> AbstractAsyncContextManager[asyncpg.Connection[asyncpg.Record]]:
    """Connect to the database of a service."""
    published = read_published(mesh.data_dir)
    assert published is not None
    return connection_to(database_url_of(str(published["database_url"]), name))


async def broken_invariants(mesh: LocalMesh) -> dict[str, int]:
    """Return the ledger's violation views that have rows, with their numbers of rows."""
    async with database_of(mesh, "payment") as payment:
        rows = await payment.fetch("select viewname from pg_views where viewname like 'violation%'")
        views = [row["viewname"] for row in rows]
        assert "violation_sum_not_zero" in views
        counts = {view: await payment.fetchval(f"select count(*) from {view}") for view in views}  # noqa: S608 - the database's own names
    return {view: count for view, count in counts.items() if count}


async def wait_until_zero(database: asyncpg.Connection[asyncpg.Record], count: str) -> None:
    """Wait until a counting query returns 0."""
    while await database.fetchval(count):  # noqa: ASYNC110 - another process changes the database
        await asyncio.sleep(0.05)


async def all_mails_to(mesh: LocalMesh, users: Sequence[User]) -> list[str]:
    """Return the sorted recipients of all mails to these users, after outbox and mail queue have been emptied."""
    async with (
        database_of(mesh, "session") as session,
        database_of(mesh, "communication") as communication,
        asyncio.timeout(TIMEOUT_S),
    ):
        await wait_until_zero(session, "select count(*) from outbox where status = 'pending'")
        await wait_until_zero(communication, "select count(*) from messages where status <> 'SENT'")
    addresses = {user.email for user in users}
    return sorted(mail.recipient for mail in read_mails(mesh.data_dir / "inbox") if mail.recipient in addresses)


@pytest.mark.requirement("J1")
async def test_of_two_hundred_bookings_of_one_slot_one_succeeds(local_mesh: LocalMesh) -> None:
    """Of 200 concurrent bookings one succeeds, and 199 get SLOT_TAKEN. The ledger balances; one member gets a mail."""
    async with client_of(local_mesh) as members:
        gym_id, users = await members.gym(), await members.join(200)

        answers = await asyncio.gather(
            *(members.book(user, gym_id, FIRST_HOUR) for user in users), return_exceptions=True
        )

    booked = [answer for answer in answers if isinstance(answer, BookSessionResponse)]
    others = {type(answer) for answer in answers if not isinstance(answer, BookSessionResponse)}
    assert (len(booked), others) == (1, {SlotTaken})
    assert await broken_invariants(local_mesh) == {}
    winner = next(user for user in users if user.user_id == booked[0].session.user_id)
    assert await all_mails_to(local_mesh, users) == [winner.email]


@pytest.mark.requirement("J1")
async def test_fifty_members_book_fifty_slots_concurrently(local_mesh: LocalMesh) -> None:
    """Fifty concurrent bookings of different slots are confirmed. The ledger balances; each member gets one mail."""
    async with client_of(local_mesh) as members:
        gym_id, users = await members.gym(), await members.join(50)

        answers = await asyncio.gather(
            *(members.book(user, gym_id, FIRST_HOUR + timedelta(hours=n)) for n, user in enumerate(users))
        )

    assert {answer.session.status for answer in answers} == {SessionStatus.SESSION_STATUS_CONFIRMED}
    assert await broken_invariants(local_mesh) == {}
    assert await all_mails_to(local_mesh, users) == sorted(user.email for user in users)
