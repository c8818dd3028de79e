from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from contracts.errors import GymClosed, GymNotFound, Internal, ServiceError
from services.session.mails.domain import MailKind
from services.session.wire import render_session
from solo60.communication.v1.communication_pb2 import SendSystemNotificationRequest, SendSystemNotificationResponse
from solo60.communication.v1.communication_pb2_grpc import CommunicationServiceStub
from solo60.gym.v1.gym_pb2 import GetGymRequest, GetGymResponse, Gym, Quote, QuotePriceRequest, QuotePriceResponse
from solo60.gym.v1.gym_pb2_grpc import GymServiceStub
from solo60.session.v1.session_pb2 import (
    SESSION_RELATION_GYM,
    SESSION_STATUS_CONFIRMED,
    SESSION_STATUS_PENDING_APPROVAL,
    GetSessionRequest,
    JoinWaitingListRequest,
    RescheduleSessionRequest,
    SendSessionMailRequest,
)
from tests.services.session.booking_mesh import HOUR, TOMORROW, book_request, period
from tests.services.session.contracts.booking_consumer import GYM_ID, QUOTE, USER_ID, BookingConsumer
from tests.services.session.contracts.states_for_user import tomorrows_session
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from services.session.sessions.domain import Session
    from tests.support.consumers import Consume

NOISE_POLICY = "No music after 22:00."
GYM_NAME = "Field Street Gym"


async def test_a_session_costs_the_price_of_the_gym(consume: Consume) -> None:
    """BookSession stores the price and the credits that the gym service returns."""
    consumer = await BookingConsumer.served(consume)
    expect_quote(consumer, "an open gym", QUOTE, unset=["quote.noise_policy", "quote.requires_approval"])

    session = await consumer.book()

    assert session.status == SESSION_STATUS_CONFIRMED
    assert (session.price, session.credits) == (QUOTE.price, QUOTE.credits)


async def test_a_session_waits_for_approval_if_the_gym_requires_it(consume: Consume) -> None:
    """BookSession does not confirm a session in a gym that requires approval."""
    consumer = await BookingConsumer.served(consume)
    expect_quote(consumer, "a gym that requires approval", with_rules(requires_approval=True))

    assert (await consumer.book()).status == SESSION_STATUS_PENDING_APPROVAL


async def test_the_member_is_warned_of_the_noise_policy(consume: Consume) -> None:
    """BookSession sends the mail NOISE_WARNING if the gym has a noise policy."""
    consumer = await BookingConsumer.served(consume)
    quote = with_rules(noise_policy=NOISE_POLICY)
    expect_quote(consumer, "a gym with a noise policy", quote)

    await consumer.book()

    await eventually(lambda: MailKind.NOISE_WARNING in consumer.mails_due())


@pytest.mark.parametrize(
    ("state", "error"),
    [("no gym", GymNotFound()), ("a gym that is closed at that time", GymClosed())],
    ids=["no gym", "closed"],
)
async def test_a_session_needs_an_open_gym(consume: Consume, state: str, error: ServiceError) -> None:
    """BookSession, JoinWaitingList and RescheduleSession pass on GYM_NOT_FOUND and GYM_CLOSED."""
    consumer = await BookingConsumer.served(consume)
    consumer.answer_for_users()
    session = await tomorrows_session(consumer.mesh)
    gym_id = str(session.order.gym_id)
    gyms = consumer.expectations.of(GymServiceStub).given(state, gym_id=gym_id, start=TOMORROW, end=TOMORROW + HOUR)
    gyms.QuotePrice(request=QuotePriceRequest(gym_id=gym_id, period=period()), error=error)
    etag = render_session(session).etag
    moved = RescheduleSessionRequest(session_id=str(session.session_id), period=period(), etag=etag)

    with pytest.raises(type(error)):
        await consumer.sessions.BookSession(book_request(USER_ID, gym_id))
    with pytest.raises(type(error)):
        await consumer.sessions.JoinWaitingList(JoinWaitingListRequest(user_id=USER_ID, gym_id=gym_id, period=period()))
    with pytest.raises(type(error)):
        await consumer.sessions.RescheduleSession(moved)


async def test_a_session_is_returned_with_its_gym(consume: Consume) -> None:
    """GetSession returns the gym as the gym service does."""
    consumer = await BookingConsumer.served(consume)
    session = await tomorrows_session(consumer.mesh)
    expect_gym(consumer, session)

    gym = (await consumer.sessions.GetSession(with_gym(session))).gym

    assert (gym.name, gym.time_zone) == (GYM_NAME, "Europe/London")


async def test_a_mail_to_the_admins_shows_the_name_and_the_time_zone_of_the_gym(consume: Consume) -> None:
    """SendSessionMail shows the name of the gym, and times in the gym's time zone to admins."""
    consumer = await BookingConsumer.served(consume)
    session = await tomorrows_session(consumer.mesh)
    expect_gym(consumer, session)
    consumer.answer_for_users()
    sending = consumer.expectations.fake.of(CommunicationServiceStub).SendSystemNotification(
        answer=SendSystemNotificationResponse(message_id=str(uuid4()))
    )

    await consumer.sessions.SendSessionMail(mail_about(session, MailKind.APPROVAL_REQUESTED))

    (sent,) = consumer.requests_to(sending)
    assert isinstance(sent, SendSystemNotificationRequest)
    assert sent.variables["gym_name"] == GYM_NAME
    assert sent.variables["start_time"].endswith("(Europe/London)")


async def test_a_session_in_an_unknown_gym_is_an_internal_error(consume: Consume) -> None:
    """GetSession with the gym and SendSessionMail fail with INTERNAL: a gym is never deleted."""
    consumer = await BookingConsumer.served(consume)
    consumer.answer_for_users()
    session = await tomorrows_session(consumer.mesh)
    gym_id = str(session.order.gym_id)
    gyms = consumer.expectations.of(GymServiceStub).given("no gym", gym_id=gym_id)
    gyms.GetGym(request=GetGymRequest(gym_id=gym_id), error=GymNotFound())

    with pytest.raises(Internal):
        await consumer.sessions.GetSession(with_gym(session))
    with pytest.raises(Internal):
        await consumer.sessions.SendSessionMail(mail_about(session, MailKind.BOOKED))


def expect_quote(consumer: BookingConsumer, state: str, quote: Quote, **options: Any) -> None:
    """Expect that the gym service quotes an hour tomorrow in this state. The other providers answer as usual."""
    consumer.answer_for_users()
    consumer.answer_for_payments()
    gyms = consumer.expectations.of(GymServiceStub).given(state, gym_id=GYM_ID, start=TOMORROW, end=TOMORROW + HOUR)
    request = QuotePriceRequest(gym_id=GYM_ID, period=period())
    gyms.QuotePrice(request=request, answer=QuotePriceResponse(quote=quote), **options)


def expect_gym(consumer: BookingConsumer, session: Session) -> None:
    """Expect that the gym service returns the gym of a session."""
    gym_id = str(session.order.gym_id)
    gyms = consumer.expectations.of(GymServiceStub).given("a gym in London", gym_id=gym_id, gym_name=GYM_NAME)
    gym = Gym(gym_id=gym_id, name=GYM_NAME, time_zone="Europe/London")
    gyms.GetGym(request=GetGymRequest(gym_id=gym_id), answer=GetGymResponse(gym=gym))


def with_rules(*, noise_policy: str = "", requires_approval: bool = False) -> Quote:
    """Return the usual quote, of a gym with these rules."""
    quote = Quote(noise_policy=noise_policy, requires_approval=requires_approval)
    quote.MergeFrom(QUOTE)
    return quote


def with_gym(session: Session) -> GetSessionRequest:
    """Return the request for a session and its gym."""
    return GetSessionRequest(session_id=str(session.session_id), include=[SESSION_RELATION_GYM])


def mail_about(session: Session, kind: MailKind) -> SendSessionMailRequest:
    """Return the request to send a mail about a session."""
    return SendSessionMailRequest(session_id=str(session.session_id), template_key=kind)
