"""Booking demo: a member books an hour and pays; a second booking of the slot and a call without a key are rejected."""

from __future__ import annotations

import asyncio
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, TypeVar

import grpc.aio
from opentelemetry import trace

from cli.terminal import CommandError
from cli.trace import is_complete_trace
from contracts.errors import GymNameTaken, ServiceError, SlotTaken, Unauthenticated
from interceptors.errors.status import error_of_call
from interceptors.tracing.span_attributes import tracer_of
from local.mail_sink import Mail, read_mails
from local.movable_clock import clock_of_mesh
from local.supervised_settings import mail_sink_port
from mesh.connection import connection_options
from mesh.telemetry.spans import StoredSpan, read_trace
from solo60.common.v1.money_pb2 import Money
from solo60.common.v1.period_pb2 import Period
from solo60.gym.v1.gym_pb2 import CreateGymRequest, Gym, ListGymsRequest
from solo60.gym.v1.gym_pb2_grpc import GymServiceStub
from solo60.payment.v1.payment_pb2 import CreditsMethod, GrantCreditsRequest, PaymentMethod
from solo60.payment.v1.payment_pb2_grpc import PaymentServiceStub
from solo60.session.v1.session_pb2 import (
    BookSessionRequest,
    CheckConflictsRequest,
    GetSessionRequest,
    GetSessionResponse,
    Session,
    SessionStatus,
)
from solo60.session.v1.session_pb2_grpc import SessionServiceStub
from solo60.user.v1.user_pb2 import CreateUserRequest, User
from solo60.user.v1.user_pb2_grpc import UserServiceStub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from datetime import datetime

    from mesh.config import Settings
    from mesh.serving.channel import Channels

GYM_NAME = "Field Street Gym"
NOISE_POLICY = "No dropped weights, no music without headphones, and quiet on the stairs after 20:00."
CREDITS = 20
HOUR = timedelta(hours=1)
# Longest period that CheckConflicts accepts.
WINDOW = timedelta(days=31)
# The confirmation and the noise warning.
MAILS = 2
TIMEOUT_S = 15.0
POLL_INTERVAL_S = 0.05
GET_SESSION = "/solo60.session.v1.SessionService/GetSession"

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class BookingResult:
    """Result of the demo: the booking, its mails and trace, and the errors of two calls that must fail."""

    member: User
    gym: Gym
    session: Session
    mails: tuple[Mail, ...]
    spans: tuple[StoredSpan, ...]
    same_slot_again: ServiceError
    without_a_key: ServiceError


class BookingDemo:
    """Demo of a booking on a running mesh. Each run books a different free hour."""

    def __init__(self, settings: Settings, channels: Channels) -> None:
        self._settings = settings
        self._gyms = channels.stub(GymServiceStub)
        self._users = channels.stub(UserServiceStub)
        self._payments = channels.stub(PaymentServiceStub)
        self._sessions = channels.stub(SessionServiceStub)

    async def run(self) -> BookingResult:
        """Run the demo; raise ServiceError or CommandError if a step does not give the expected result."""
        member = await self._member_with_credits()
        gym = await self._gym()
        request = BookSessionRequest(
            user_id=member.user_id,
            gym_id=gym.gym_id,
            period=await self._free_hour(gym),
            payment_method=PaymentMethod(credits=CreditsMethod()),
        )
        with tracer_of(trace.get_tracer_provider(), "solo60.cli").start_as_current_span("demo booking") as span:
            session = (await self._sessions.BookSession(request)).session
        if session.status != SessionStatus.SESSION_STATUS_CONFIRMED:
            raise CommandError(
                f"The session has status {SessionStatus.Name(session.status)} instead of SESSION_STATUS_CONFIRMED."
            )
        return BookingResult(
            member,
            gym,
            session,
            tuple(await self._mails_to(member.email)),
            tuple(await self._complete_trace(f"{span.get_span_context().trace_id:032x}")),
            await self._refusal_of_the_same_slot(request),
            await self._refusal_without_a_key(session),
        )

    async def _member_with_credits(self) -> User:
        email = f"demo-{uuid.uuid4().hex[:12]}@solo60.example"
        request = CreateUserRequest(email=email, display_name="Dana Demo", time_zone="Europe/London")
        member = (await self._users.CreateUser(request)).user
        await self._payments.GrantCredits(
            GrantCreditsRequest(user_id=member.user_id, credits=CREDITS, reason="Welcome to the demo.")
        )
        return member

    async def _gym(self) -> Gym:
        async for gym in self._all_gyms():
            if gym.name == GYM_NAME:
                return gym
        request = CreateGymRequest(
            name=GYM_NAME,
            time_zone="Europe/London",
            price_per_hour=Money(currency_code="GBP", minor_units=1250),
            credits_per_hour=10,
            noise_policy=NOISE_POLICY,
        )
        try:
            return (await self._gyms.CreateGym(request)).gym
        except GymNameTaken:  # another demo has just created it
            return await self._gym()

    async def _all_gyms(self) -> AsyncIterator[Gym]:
        token = ""
        while True:
            page = await self._gyms.ListGyms(ListGymsRequest(page_size=100, page_token=token))
            for gym in page.gyms:
                yield gym
            token = page.next_page_token
            if not token:
                return

    async def _free_hour(self, gym: Gym) -> Period:
        """Return the first free full hour that starts at least one hour from now."""
        now = clock_of_mesh(self._settings).now()
        first = now.replace(minute=0, second=0, microsecond=0) + 2 * HOUR
        window = CheckConflictsRequest(gym_id=gym.gym_id, period=period(first, first + WINDOW))
        booked = (await self._sessions.CheckConflicts(window)).conflicting_periods
        start = first
        while start + HOUR <= first + WINDOW:
            if not any(_overlap(each, start, start + HOUR) for each in booked):
                return period(start, start + HOUR)
            start += HOUR
        raise CommandError(
            f"{gym.name} has no free hour in the next {WINDOW.days} days. `make reset` deletes the mesh's data."
        )

    async def _mails_to(self, email: str) -> list[Mail]:
        if mail_sink_port(self._settings) is None:
            return []  # an external mail server, so the mails cannot be read
        folder = self._settings.inbox_folder
        return await _poll(
            lambda: [mail for mail in read_mails(folder) if mail.recipient == email],
            lambda mails: len(mails) >= MAILS,
            f"{MAILS} mails to the member",
        )

    async def _complete_trace(self, trace_id: str) -> list[StoredSpan]:
        folder = self._settings.local_span_dir
        expected = {"solo60", "session", "user", "gym", "payment", "communication"}
        return await _poll(
            lambda: read_trace(folder, trace_id),
            lambda spans: {span.service for span in spans} >= expected and is_complete_trace(spans),
            f"a complete trace {trace_id} through {', '.join(sorted(expected))}",
        )

    async def _refusal_of_the_same_slot(self, request: BookSessionRequest) -> ServiceError:
        try:
            await self._sessions.BookSession(request)
        except SlotTaken as refusal:
            return refusal
        raise CommandError("The same slot was booked twice.")

    async def _refusal_without_a_key(self, session: Session) -> ServiceError:
        options = connection_options(through_proxy=self._settings.calls_through_proxy)
        async with grpc.aio.insecure_channel(self._settings.url_of("session"), options) as channel:
            get_session = channel.unary_unary(
                GET_SESSION, GetSessionRequest.SerializeToString, GetSessionResponse.FromString
            )
            try:
                await get_session(GetSessionRequest(session_id=session.session_id), timeout=TIMEOUT_S)
            except grpc.aio.AioRpcError as error:
                refusal = error_of_call(error, GET_SESSION[1:])
                if isinstance(refusal, Unauthenticated):
                    return refusal
                raise refusal from error
        raise CommandError("The session service accepted a call without an API key.")


def period(start: datetime, end: datetime) -> Period:
    """Return a Period from `start` to `end`."""
    message = Period()
    message.start_time.FromDatetime(start)
    message.end_time.FromDatetime(end)
    return message


def _overlap(booked: Period, start: datetime, end: datetime) -> bool:
    return booked.start_time.ToDatetime(UTC) < end and start < booked.end_time.ToDatetime(UTC)


async def _poll(
    read: Callable[[], list[Found]], is_complete: Callable[[Sequence[Found]], bool], expected: str
) -> list[Found]:
    """Poll `read` and return the first complete result; raise CommandError after TIMEOUT_S seconds."""
    give_up_at = time.monotonic() + TIMEOUT_S
    while not is_complete(found := read()):
        if time.monotonic() > give_up_at:
            raise CommandError(f"Timed out after {TIMEOUT_S:.0f} s waiting for {expected}: found only {len(found)}.")
        await asyncio.sleep(POLL_INTERVAL_S)
    return found
