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
from local.inbox import read_inbox
from solo60.subscription.v1.subscription_pb2 import (
    SUBSCRIPTION_MAIL_RENEWAL_REMINDER,
    ResumeSubscriptionRequest,
    Subscription,
)
from tests.services.subscription.club import DAY, TEN_HOURS, event, month_after, webhook
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from tests.services.subscription.club import Club

KEY = ((IDEMPOTENCY_KEY, "resume-ada-byron"),)


def resuming(of: Subscription) -> ResumeSubscriptionRequest:
    """Return the request that resumes a subscription."""
    return ResumeSubscriptionRequest(subscription_id=of.subscription_id)


async def test_resuming_withdraws_a_planned_cancellation(club: Club) -> None:
    """Resuming removes the planned end, restores the reminder, and mails the member the date of the next payment."""
    new = await club.subscribed()
    end = new.current_period.end_time.ToDatetime(UTC)
    await club.cancelled(new, at_period_end=True)

    resumed = (await club.subscriptions.ResumeSubscription(resuming(new))).subscription

    assert resumed == new
    assert await club.now(new) == new
    assert await club.reminders() == [(SUBSCRIPTION_MAIL_RENEWAL_REMINDER, end - 7 * DAY)]
    mails = await club.mails()
    assert f"{end:%B %Y, %H:%M} (UTC), 39.00 GBP" in mails["Your subscription Four hours continues"].body
    await club.deliver(webhook(event("renewed", new, period=month_after(new))))
    assert await club.status(new) == "ACTIVE"


async def test_a_trial_is_resumed_as_a_trial(club: Club) -> None:
    """A trial that was to be cancelled at its end resumes as a trial with its remaining time."""
    new = await club.subscribed(TEN_HOURS)
    await club.cancelled(new, at_period_end=True)

    assert (await club.subscriptions.ResumeSubscription(resuming(new))).subscription == new
    assert await club.status(new) == "TRIALING"


async def test_each_cancellation_and_each_resumption_is_mailed(club: Club) -> None:
    """Cancelling and resuming twice sends one mail for each of the four changes, although the end is the same."""
    new = await club.subscribed()
    for _ in range(2):
        await club.cancelled(new, at_period_end=True)
        await club.settled()
        await club.subscriptions.ResumeSubscription(resuming(new))
        await club.settled()

    async def all_have_come() -> bool:
        return len(read_inbox(club.inbox_folder)) == 5

    await eventually(all_have_come)


async def test_a_repeated_request_gets_the_same_answer(club: Club) -> None:
    """Three requests with one idempotency key get the same answer; another request with that key is rejected."""
    new = await club.subscribed()
    await club.cancelled(new, at_period_end=True)

    answers = [await club.subscriptions.ResumeSubscription(resuming(new), metadata=KEY) for _ in range(3)]

    assert answers[0] == answers[1] == answers[2]
    other = ResumeSubscriptionRequest(subscription_id=str(uuid4()))
    with pytest.raises(IdempotencyKeyReused):
        await club.subscriptions.ResumeSubscription(other, metadata=KEY)


async def test_a_subscription_that_cannot_be_resumed_is_rejected_with_the_reason(club: Club) -> None:
    """Resuming fails without a planned cancellation, after an end by caller or processor, and for a bad id."""
    going_on, ended, given_up = [await club.subscribed() for _ in range(3)]
    await club.cancelled(ended)
    await club.cancelled(given_up, at_period_end=True)
    await club.deliver(webhook(event("ended", given_up, end_time=datetime.now(UTC) + timedelta(days=2))))

    refused = [
        (resuming(going_on), SubscriptionNotCancelled),
        (resuming(ended), SubscriptionNotActive),
        (resuming(given_up), SubscriptionNotActive),
        (ResumeSubscriptionRequest(subscription_id=str(uuid4())), SubscriptionNotFound),
        (ResumeSubscriptionRequest(subscription_id="1"), InvalidRequest),
    ]
    for request, error in refused:
        with pytest.raises(error):
            await club.subscriptions.ResumeSubscription(request)
