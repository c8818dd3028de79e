from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import uuid4

import asyncpg
import pytest

from contracts.errors import AlreadySubscribed, TrialUsed
from solo60.subscription.v1.subscription_pb2 import Subscription
from tests.services.subscription.subscription_mesh import FOUR_HOURS, TEN_HOURS

if TYPE_CHECKING:
    from tests.services.subscription.subscription_fixture import SubscriptionFixture
    from tests.services.subscription.subscription_mesh import SubscriptionMesh

TWENTY_HOURS = "01980000-0000-7000-8000-000000000014"


async def test_a_second_subscription_has_no_trial(mesh: SubscriptionMesh) -> None:
    """A user gets one trial: after a cancelled trial, every further subscription is paid at once, on any plan."""
    user_id = await mesh.create_member()
    await mesh.cancel(await mesh.subscribe(TEN_HOURS, user_id))

    for plan_id in (TEN_HOURS, TWENTY_HOURS):
        again = await mesh.subscribe(plan_id, user_id)
        assert await mesh.status(again) == "ACTIVE"
        assert not again.HasField("trial_end_time")
        await mesh.cancel(again)


async def test_a_request_for_a_second_trial_is_rejected(mesh: SubscriptionMesh) -> None:
    """A request for a second trial raises TrialUsed, so that no user is charged unexpectedly.

    A request without a trial succeeds.
    """
    user_id = await mesh.create_member()
    first = await mesh.subscribe(FOUR_HOURS, user_id, trial_days=5)
    with pytest.raises(AlreadySubscribed):
        await mesh.subscribe(TEN_HOURS, user_id, trial_days=14)
    await mesh.cancel(first)

    with pytest.raises(TrialUsed):
        await mesh.subscribe(TEN_HOURS, user_id, trial_days=14)

    assert await mesh.status(await mesh.subscribe(TEN_HOURS, user_id, trial_days=0)) == "ACTIVE"


async def test_a_paid_subscription_does_not_use_up_the_trial(mesh: SubscriptionMesh) -> None:
    """A month that was paid at once does not use up the user's trial."""
    user_id = await mesh.create_member()
    await mesh.cancel(await mesh.subscribe(FOUR_HOURS, user_id))

    assert await mesh.status(await mesh.subscribe(TEN_HOURS, user_id)) == "TRIALING"


async def test_one_of_ten_concurrent_trials_begins(mesh: SubscriptionMesh) -> None:
    """Of ten concurrent trials for one user, one begins and nine fail; afterwards the trial is used up."""
    user_id = await mesh.create_member()

    answers = await asyncio.gather(*[mesh.subscribe(TEN_HOURS, user_id) for _ in range(10)], return_exceptions=True)

    (new,) = [answer for answer in answers if isinstance(answer, Subscription)]
    assert sum(isinstance(answer, AlreadySubscribed) for answer in answers) == 9
    await mesh.cancel(new)
    assert await mesh.balance(user_id) == 100
    assert await mesh.status(await mesh.subscribe(TEN_HOURS, user_id)) == "ACTIVE"


async def test_the_database_allows_one_trial_for_each_user(fixture: SubscriptionFixture) -> None:
    """The database rejects a second trial of a user, even from a program that does not check first."""
    user_id = uuid4()

    async with fixture.store.transaction() as tx:
        first = await fixture.subscribe(tx, user_id, TEN_HOURS)

    with pytest.raises(asyncpg.UniqueViolationError):
        await fixture.change("insert into trials values ($1, $2, now())", user_id, first.subscription_id)
