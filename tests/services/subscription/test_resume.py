from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from contracts.errors import (
    IdempotencyKeyReused,
    InvalidRequest,
    SubscriptionNotActive,
    SubscriptionNotCancelled,
    SubscriptionNotFound,
)
from interceptors.idempotency import IDEMPOTENCY_KEY
from local.mail_sink import read_mails
from solo60.subscription.v1.subscription_pb2 import (
    SUBSCRIPTION_MAIL_RENEWAL_REMINDER,
    ResumeSubscriptionRequest,
    Subscription,
)
from tests.services.subscription.subscription_mesh import DAY, TEN_HOURS, event, month_after, webhook
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from tests.services.subscription.subscription_mesh import SubscriptionMesh

KEY = ((IDEMPOTENCY_KEY, "resume-ada-byron"),)


def resume_request(subscription: Subscription) -> ResumeSubscriptionRequest:
    """Return the request that resumes a subscription."""
    return ResumeSubscriptionRequest(subscription_id=subscription.subscription_id)


async def test_resuming_withdraws_a_planned_cancellation(mesh: SubscriptionMesh) -> None:
    """Resuming removes the planned end, restores the reminder, and mails the member the date of the next payment."""
    new = await mesh.subscribe()
    end = new.current_period.end_time.ToDatetime(UTC)
    await mesh.cancel(new, at_period_end=True)

    resumed = (await mesh.subscriptions.ResumeSubscription(resume_request(new))).subscription

    assert resumed == new
    assert await mesh.get(new) == new
    assert await mesh.reminders() == [(SUBSCRIPTION_MAIL_RENEWAL_REMINDER, end - days * DAY) for days in (7, 3)]
    mails = await mesh.mails()
    assert f"{end:%B %Y, %H:%M} (UTC), 39.00 GBP" in mails["Your subscription Four hours continues"].body
    await mesh.deliver(webhook(event("renewed", new, period=month_after(new))))
    assert await mesh.status(new) == "ACTIVE"


async def test_a_trial_is_resumed_as_a_trial(mesh: SubscriptionMesh) -> None:
    """A trial that was to be cancelled at its end resumes as a trial with its remaining time."""
    new = await mesh.subscribe(TEN_HOURS)
    await mesh.cancel(new, at_period_end=True)

    assert (await mesh.subscriptions.ResumeSubscription(resume_request(new))).subscription == new
    assert await mesh.status(new) == "TRIALING"


async def test_each_cancellation_and_each_resumption_is_mailed(mesh: SubscriptionMesh) -> None:
    """Cancelling and resuming twice sends one mail for each of the four changes, although the end is the same."""
    new = await mesh.subscribe()
    for _ in range(2):
        await mesh.cancel(new, at_period_end=True)
        await mesh.wait_until_settled()
        await mesh.subscriptions.ResumeSubscription(resume_request(new))
        await mesh.wait_until_settled()

    async def all_arrived() -> bool:
        return len(read_mails(mesh.inbox_folder)) == 5

    await eventually(all_arrived)


async def test_a_repeated_request_gets_the_same_answer(mesh: SubscriptionMesh) -> None:
    """Three requests with one idempotency key get the same answer; another request with that key is rejected."""
    new = await mesh.subscribe()
    await mesh.cancel(new, at_period_end=True)

    answers = [await mesh.subscriptions.ResumeSubscription(resume_request(new), metadata=KEY) for _ in range(3)]

    assert answers[0] == answers[1] == answers[2]
    other = ResumeSubscriptionRequest(subscription_id=str(uuid4()))
    with pytest.raises(IdempotencyKeyReused):
        await mesh.subscriptions.ResumeSubscription(other, metadata=KEY)


async def test_a_subscription_that_cannot_be_resumed_is_rejected_with_the_reason(mesh: SubscriptionMesh) -> None:
    """Resuming fails without a planned cancellation, after an end by caller or processor, and for a bad id."""
    active, ended, ended_by_processor = [await mesh.subscribe() for _ in range(3)]
    await mesh.cancel(ended)
    await mesh.cancel(ended_by_processor, at_period_end=True)
    await mesh.deliver(webhook(event("ended", ended_by_processor, end_time=datetime.now(UTC) + timedelta(days=2))))

    refused = [
        (resume_request(active), SubscriptionNotCancelled),
        (resume_request(ended), SubscriptionNotActive),
        (resume_request(ended_by_processor), SubscriptionNotActive),
        (ResumeSubscriptionRequest(subscription_id=str(uuid4())), SubscriptionNotFound),
        (ResumeSubscriptionRequest(subscription_id="1"), InvalidRequest),
    ]
    for request, error in refused:
        with pytest.raises(error):
            await mesh.subscriptions.ResumeSubscription(request)
