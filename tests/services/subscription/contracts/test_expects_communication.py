from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from contracts.errors import (
    IdempotencyKeyReused,
    Internal,
    ServiceError,
    TemplateNotFound,
    TemplateVariableMissing,
)
from services.subscription.app import SERVICE
from services.subscription.domain import MailKind
from services.subscription.reports import PaymentFailed
from solo60.communication.v1.communication_pb2 import Recipient, SendEmailAsyncRequest, SendEmailAsyncResponse
from solo60.communication.v1.communication_pb2_grpc import CommunicationServiceStub
from solo60.subscription.v1.subscription_pb2 import SendSubscriptionMailRequest, SubscriptionMail
from solo60.subscription.v1.subscription_pb2_grpc import SubscriptionServiceStub
from solo60.user.v1.user_pb2 import USER_STATE_ACTIVE, GetUserResponse, User
from solo60.user.v1.user_pb2_grpc import UserServiceStub
from tests.services.subscription.contracts.stored_subscriptions import store_subscription
from tests.services.subscription.subscription_mesh import DAY, TEN_HOURS

if TYPE_CHECKING:
    from datetime import datetime

    from contracts.testing import Expectations
    from services.subscription.domain import Subscription
    from tests.support.consumers import Consume
    from tests.support.serving import MeshForTests

USER_ID = str(uuid4())
RECIPIENT = Recipient(email="ada@example.org", display_name="Ada Lovelace", user_id=USER_ID)


async def test_each_mail_about_a_subscription_fits_a_template(consume: Consume) -> None:
    """SendSubscriptionMail sends each kind of mail with the variables that its template needs."""
    mesh, expectations = await consume(SERVICE)
    find_user(expectations)
    for kind in MailKind:
        templates = expectations.of(CommunicationServiceStub).given(f"the template {kind}", user_id=USER_ID)
        templates.SendEmailAsync(
            request=SendEmailAsyncRequest(template_key=kind, recipient=RECIPIENT), answer=SendEmailAsyncResponse()
        )

    for kind in MailKind:
        subscription, time = await subscription_for(mesh, kind)
        assert await send_mail(mesh, subscription, kind, time)


@pytest.mark.parametrize(
    ("state", "error"),
    [
        ("no template with that key", TemplateNotFound()),
        ("a template with other variables", TemplateVariableMissing()),
    ],
)
async def test_a_mail_that_does_not_fit_its_template_is_not_sent(
    consume: Consume, state: str, error: ServiceError
) -> None:
    """SendSubscriptionMail fails with INTERNAL, because the error is a fault of the mesh and not of its caller."""
    mesh, expectations = await consume(SERVICE, strict_contracts=False)
    find_user(expectations)
    kind = MailKind.SUBSCRIPTION_ACTIVATED
    templates = expectations.of(CommunicationServiceStub).given(state, user_id=USER_ID, template_key=str(kind))
    templates.SendEmailAsync(request=SendEmailAsyncRequest(template_key=kind, recipient=RECIPIENT), error=error)
    subscription = await store_subscription(mesh, USER_ID)

    with pytest.raises(Internal):
        await send_mail(mesh, subscription, kind, subscription.create_time)


async def test_a_mail_that_was_queued_with_another_name_is_not_sent_again(consume: Consume) -> None:
    """SendSubscriptionMail succeeds if the user's name has changed since the mail was queued."""
    mesh, expectations = await consume(SERVICE)
    find_user(expectations)
    expectations.fake.of(CommunicationServiceStub).SendEmailAsync(error=IdempotencyKeyReused())
    subscription = await store_subscription(mesh, USER_ID)

    assert await send_mail(mesh, subscription, MailKind.SUBSCRIPTION_ACTIVATED, subscription.create_time)


def find_user(expectations: Expectations) -> None:
    """Let the user service find the user."""
    user = User(user_id=USER_ID, email=RECIPIENT.email, display_name=RECIPIENT.display_name, state=USER_STATE_ACTIVE)
    expectations.fake.of(UserServiceStub).GetUser(answer=GetUserResponse(user=user))


async def subscription_for(mesh: MeshForTests, kind: MailKind) -> tuple[Subscription, datetime]:
    """Store a subscription of which a mail is true, and return it with the time that the mail mentions."""
    match kind:
        case MailKind.TRIAL_ENDING:
            trial = await store_subscription(mesh, plan_id=TEN_HOURS)
            return trial, trial.current_period.end
        case MailKind.RENEWAL_REMINDER:
            active = await store_subscription(mesh, USER_ID)
            return active, active.current_period.end
        case MailKind.SUBSCRIPTION_EXPIRED:
            ended = await store_subscription(mesh, is_cancelled=True)
            return ended, ended.current_period.end
        case MailKind.PAYMENT_FAILED:
            now = mesh.clock.now()
            report = PaymentFailed(now, now, retry_time=now + 3 * DAY)
            return await store_subscription(mesh, age=timedelta(days=31), report=report), now + 3 * DAY
        case _:
            active = await store_subscription(mesh)
            return active, active.create_time


async def send_mail(mesh: MeshForTests, subscription: Subscription, kind: MailKind, time: datetime) -> bool:
    """Send a mail about a subscription, and return whether it was sent."""
    request = SendSubscriptionMailRequest(
        subscription_id=str(subscription.subscription_id), mail=SubscriptionMail.Value(f"SUBSCRIPTION_MAIL_{kind}")
    )
    request.time.FromDatetime(time)
    return (await mesh.stub(SubscriptionServiceStub).SendSubscriptionMail(request)).sent
