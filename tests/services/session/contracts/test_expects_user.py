from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from contracts.errors import Internal, ServiceError, UserNotActive, UserNotFound
from services.session.mails.domain import MailKind
from solo60.communication.v1.communication_pb2 import Recipient, SendEmailAsyncRequest, SendEmailAsyncResponse
from solo60.communication.v1.communication_pb2_grpc import CommunicationServiceStub
from solo60.session.v1.session_pb2 import (
    SESSION_RELATION_USER,
    GetSessionRequest,
    JoinWaitingListRequest,
    SendSessionMailRequest,
)
from solo60.user.v1.user_pb2 import (
    USER_STATE_ACTIVE,
    USER_STATE_DELETED,
    USER_STATE_SUSPENDED,
    GetUserRequest,
    GetUserResponse,
    User,
    ValidateUserRequest,
    ValidateUserResponse,
)
from solo60.user.v1.user_pb2_grpc import UserServiceStub
from tests.services.session.booking_mesh import period
from tests.services.session.contracts.booking_consumer import GYM_ID, USER_ID, BookingConsumer
from tests.services.session.contracts.states_for_user import tomorrows_session

if TYPE_CHECKING:
    from services.session.sessions.domain import Session
    from tests.support.consumers import Consume

EMAIL, NAME = "ada@members.example", "Ada Byron"
VALIDATE = ValidateUserRequest(user_id=USER_ID)


async def test_an_active_user_books(consume: Consume) -> None:
    """BookSession books for a user who is active."""
    consumer = await BookingConsumer.served(consume)
    consumer.answer_for_gyms()
    consumer.answer_for_payments()
    active = ValidateUserResponse(valid=True, state=USER_STATE_ACTIVE)
    users = consumer.expectations.of(UserServiceStub).given("an active user", user_id=USER_ID)
    users.ValidateUser(request=VALIDATE, answer=active)

    assert (await consumer.book()).user_id == USER_ID


@pytest.mark.parametrize(
    ("state", "answer", "unset", "error"),
    [
        ("a suspended user", ValidateUserResponse(state=USER_STATE_SUSPENDED), ["valid"], UserNotActive),
        ("a user who has left", ValidateUserResponse(state=USER_STATE_DELETED), ["valid"], UserNotActive),
        ("no user", ValidateUserResponse(), ["valid", "state"], UserNotFound),
    ],
    ids=["suspended", "left", "no user"],
)
async def test_only_an_active_user_books_and_waits(
    consume: Consume, state: str, answer: ValidateUserResponse, unset: list[str], error: type[ServiceError]
) -> None:
    """BookSession and JoinWaitingList fail with USER_NOT_ACTIVE for inactive users, USER_NOT_FOUND for unknown ones."""
    consumer = await BookingConsumer.served(consume)
    consumer.answer_for_gyms()
    users = consumer.expectations.of(UserServiceStub).given(state, user_id=USER_ID)
    users.ValidateUser(request=VALIDATE, answer=answer, unset=unset)

    with pytest.raises(error):
        await consumer.book()
    with pytest.raises(error):
        await consumer.sessions.JoinWaitingList(JoinWaitingListRequest(user_id=USER_ID, gym_id=GYM_ID, period=period()))


async def test_a_session_is_returned_with_its_user(consume: Consume) -> None:
    """GetSession returns the user as the user service does."""
    consumer = await BookingConsumer.served(consume)
    session = await tomorrows_session(consumer.mesh)
    expect_user(consumer, session, "an active user", email=EMAIL, display_name=NAME)

    user = (await consumer.sessions.GetSession(with_user(session))).user

    assert (user.email, user.display_name) == (EMAIL, NAME)


async def test_a_mail_goes_to_the_address_and_shows_times_in_the_time_zone_of_the_user(consume: Consume) -> None:
    """SendSessionMail sends to the user's address, with the user's name and local times."""
    consumer = await BookingConsumer.served(consume)
    session = await tomorrows_session(consumer.mesh)
    zone = "America/New_York"
    expect_user(consumer, session, "an active user in New York", email=EMAIL, display_name=NAME, time_zone=zone)
    consumer.answer_for_gyms()
    sending = consumer.expectations.fake.of(CommunicationServiceStub).SendEmailAsync(
        answer=SendEmailAsyncResponse(message_id=str(uuid4()))
    )

    await consumer.sessions.SendSessionMail(booked_mail(session))

    (sent,) = consumer.requests_to(sending)
    assert isinstance(sent, SendEmailAsyncRequest)
    assert sent.recipient == Recipient(email=EMAIL, display_name=NAME, user_id=str(session.order.user_id))
    assert sent.variables["start_time"].endswith(f"({zone})")


async def test_an_erased_user_gets_no_mail(consume: Consume) -> None:
    """SendSessionMail succeeds without a mail if the user has no address any more."""
    consumer = await BookingConsumer.served(consume)
    session = await tomorrows_session(consumer.mesh)
    expect_user(consumer, session, "an erased user", unset=["user.email", "user.display_name"])
    consumer.answer_for_gyms()

    await consumer.sessions.SendSessionMail(booked_mail(session))


async def test_an_unknown_user_gets_no_mail(consume: Consume) -> None:
    """SendSessionMail skips the mail, but GetSession with the user fails with INTERNAL: a user is never deleted."""
    consumer = await BookingConsumer.served(consume)
    session = await tomorrows_session(consumer.mesh)
    consumer.answer_for_gyms()
    user_id = str(session.order.user_id)
    users = consumer.expectations.of(UserServiceStub).given("no user", user_id=user_id)
    users.GetUser(request=GetUserRequest(user_id=user_id), error=UserNotFound())

    await consumer.sessions.SendSessionMail(booked_mail(session))
    with pytest.raises(Internal):
        await consumer.sessions.GetSession(with_user(session))


def expect_user(
    consumer: BookingConsumer, session: Session, state: str, unset: list[str] | None = None, **fields: Any
) -> None:
    """Expect that the user service returns the user of a session with these fields in this state."""
    user_id = str(session.order.user_id)
    users = consumer.expectations.of(UserServiceStub).given(state, user_id=user_id)
    answer = GetUserResponse(user=User(user_id=user_id, **fields))
    users.GetUser(request=GetUserRequest(user_id=user_id), answer=answer, unset=unset or [])


def with_user(session: Session) -> GetSessionRequest:
    """Return the request for a session and its user."""
    return GetSessionRequest(session_id=str(session.session_id), include=[SESSION_RELATION_USER])


def booked_mail(session: Session) -> SendSessionMailRequest:
    """Return the request to mail the member that the session is booked."""
    return SendSessionMailRequest(session_id=str(session.session_id), template_key=MailKind.BOOKED)
