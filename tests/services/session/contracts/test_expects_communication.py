"""Expectations of the session service on the communication service, which has a template for each of its mails."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from contracts.errors import Internal, TemplateNotFound, TemplateVariableMissing
from services.session.mails.domain import MailKind
from solo60.communication.v1.communication_pb2 import (
    AUDIENCE_ADMINS,
    Recipient,
    SendEmailAsyncRequest,
    SendEmailAsyncResponse,
    SendSystemNotificationRequest,
    SendSystemNotificationResponse,
)
from solo60.communication.v1.communication_pb2_grpc import CommunicationServiceStub
from solo60.gym.v1.gym_pb2 import GetGymResponse, Gym
from solo60.gym.v1.gym_pb2_grpc import GymServiceStub
from solo60.session.v1.session_pb2 import SendSessionMailRequest, SendSessionMailResponse
from solo60.user.v1.user_pb2 import GetUserResponse, User
from solo60.user.v1.user_pb2_grpc import UserServiceStub
from tests.services.session.contracts.mail_consumer import MailConsumer

if TYPE_CHECKING:
    from contracts.errors import ServiceError
    from contracts.testing import Expectations
    from tests.support.consumers import Consume

USER_ID = str(uuid4())
MEMBER = Recipient(email="ada@members.example", display_name="Ada", user_id=USER_ID)
GUEST = Recipient(email="grace@guests.example", display_name="Grace")
TO_GUESTS = (MailKind.GUEST_INVITED, MailKind.GUEST_CANCELLED, MailKind.GUEST_RESCHEDULED)
TO_ADMINS = MailKind.APPROVAL_REQUESTED
ERRORS = [
    ("no template with that key", TemplateNotFound()),
    ("a template with other variables", TemplateVariableMissing()),
]


async def test_each_mail_fits_its_template(consume: Consume) -> None:
    """SendSessionMail sends each mail to the member or the guest, with the variables that its template needs."""
    consumer = await served(consume)
    requests = await mail_requests(consumer)
    templates = consumer.expectations.of(CommunicationServiceStub)
    for kind in requests:
        templates.given(f"the template {kind}", user_id=USER_ID).SendEmailAsync(
            request=SendEmailAsyncRequest(
                template_key=kind, recipient=GUEST if kind in TO_GUESTS else MEMBER, subject_user_id=USER_ID
            ),
            answer=SendEmailAsyncResponse(),
        )

    for request in requests.values():
        assert await consumer.sessions.SendSessionMail(request) == SendSessionMailResponse()


async def test_admins_get_the_request_for_approval(consume: Consume) -> None:
    """SendSessionMail sends the mail APPROVAL_REQUESTED to the admins, about the member."""
    consumer = await served(consume)
    session = await consumer.book()
    templates = consumer.expectations.of(CommunicationServiceStub)
    templates.given(f"the template {TO_ADMINS}", user_id=USER_ID).SendSystemNotification(
        request=SendSystemNotificationRequest(
            template_key=TO_ADMINS, audience=AUDIENCE_ADMINS, subject_user_id=USER_ID
        ),
        answer=SendSystemNotificationResponse(),
    )
    request = SendSessionMailRequest(session_id=session.session_id, template_key=TO_ADMINS)

    assert await consumer.sessions.SendSessionMail(request) == SendSessionMailResponse()


@pytest.mark.parametrize(("state", "error"), ERRORS, ids=["unknown", "incomplete"])
async def test_a_mail_that_does_not_fit_its_template_is_not_sent(
    consume: Consume, state: str, error: ServiceError
) -> None:
    """SendSessionMail to a member or the admins fails with INTERNAL, so that the outbox tries again."""
    consumer = await served(consume, strict_contracts=False)
    session = await consumer.book()
    given = consumer.expectations.of(CommunicationServiceStub).given
    given(state, user_id=USER_ID, template_key=str(MailKind.BOOKED)).SendEmailAsync(
        request=SendEmailAsyncRequest(template_key=MailKind.BOOKED, recipient=MEMBER), error=error
    )
    given(state, user_id=USER_ID, template_key=str(TO_ADMINS)).SendSystemNotification(
        request=SendSystemNotificationRequest(template_key=TO_ADMINS, audience=AUDIENCE_ADMINS), error=error
    )

    for kind in (MailKind.BOOKED, TO_ADMINS):
        with pytest.raises(Internal):
            await consumer.sessions.SendSessionMail(
                SendSessionMailRequest(session_id=session.session_id, template_key=kind)
            )


async def served(consume: Consume, *, strict_contracts: bool = True) -> MailConsumer:
    """Serve the session service, whose own later calls send no mail here. Each user is Ada."""
    consumer = await MailConsumer.served(consume, strict_contracts=strict_contracts)
    consumer.take_mails()
    answer_for_mail(consumer.expectations)
    return consumer


def answer_for_mail(expectations: Expectations) -> None:
    """Let the user and gym services answer what a mail says about the member and the gym."""
    user = User(user_id=USER_ID, email=MEMBER.email, display_name=MEMBER.display_name)
    gym = Gym(gym_id=str(uuid4()), name="Field Street Gym", time_zone="Europe/London")
    expectations.fake.of(UserServiceStub).GetUser(answer=GetUserResponse(user=user))
    expectations.fake.of(GymServiceStub).GetGym(answer=GetGymResponse(gym=gym))


async def mail_requests(consumer: MailConsumer) -> dict[MailKind, SendSessionMailRequest]:
    """Return a request for each kind of mail to one person."""
    session, offer = await consumer.book(), await consumer.offer()
    guest, entry = await consumer.invite(session), await consumer.wait_for(session)
    requests = {
        kind: SendSessionMailRequest(session_id=session.session_id, template_key=kind)
        for kind in MailKind
        if kind is not TO_ADMINS
    }
    for kind in TO_GUESTS:
        requests[kind].invitation_id = guest.invitation_id
    requests[MailKind.SPOT_AVAILABLE].entry_id = entry.entry_id
    requests[MailKind.SLOT_OFFERED].offer_id = offer.offer_id
    return requests
