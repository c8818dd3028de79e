from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from contracts.errors import SubscriptionNotFound
from services.subscription.domain import SubscriptionStatus
from tests.services.subscription.subscription_mesh import DAY, event, webhook

if TYPE_CHECKING:
    from tests.services.subscription.subscription_fixture import SubscriptionFixture


async def test_a_leftover_webhook_applies_as_soon_as_it_can(fixture: SubscriptionFixture) -> None:
    """The upkeep applies a held webhook once its subscription exists. A webhook that cannot apply blocks no other."""
    unknown, early = str(uuid4()), str(uuid4())
    for subscription_id, webhook_id in [(unknown, "msg_1"), (early, "msg_2")]:
        with pytest.raises(SubscriptionNotFound):
            await fixture.deliver(webhook(event("ended", subscription_id, end_time=fixture.now), webhook_id))
    new = await fixture.subscribe_new_user()
    payload = "update webhooks set payload = replace(convert_from(payload, 'utf8'), $1, $2)::bytea"
    await fixture.change(payload, early, str(new.subscription_id))

    await fixture.webhook_handler.tidy()
    assert await fixture.stored_events() == {
        "msg_1": None,
        "msg_2": None,
    }  # a call with this webhook may still be running
    fixture.now += timedelta(minutes=2)
    await fixture.webhook_handler.tidy()

    assert await fixture.stored_events() == {"msg_1": None, "msg_2": "ended"}
    assert (await fixture.store.find(new.subscription_id)).status(fixture.now) is SubscriptionStatus.EXPIRED


async def test_the_id_of_an_applied_webhook_is_stored_for_30_days(fixture: SubscriptionFixture) -> None:
    """The id of an applied webhook is stored for at least 30 days, and a held webhook until it applies."""
    new = await fixture.subscribe_new_user()
    await fixture.deliver(webhook(event("trial_ending", str(new.subscription_id)), "msg_1"))
    with pytest.raises(SubscriptionNotFound):
        await fixture.deliver(webhook(event("trial_ending", str(uuid4())), "msg_2"))

    fixture.now += 30 * DAY
    await fixture.webhook_handler.tidy()
    assert await fixture.stored_events() == {"msg_1": "trial_ending", "msg_2": None}
    fixture.now += 2 * DAY
    await fixture.webhook_handler.tidy()

    assert await fixture.stored_events() == {"msg_2": None}


async def test_a_renewal_stores_its_grant_in_the_same_transaction(fixture: SubscriptionFixture) -> None:
    """A renewal stores its record and its message in one transaction: if the message fails, neither exists."""
    new = await fixture.subscribe_new_user()
    period = {"start_time": new.current_period.end.isoformat(), "end_time": (fixture.now + 90 * DAY).isoformat()}
    renewed = event("renewed", str(new.subscription_id), period=period)
    await fixture.change("alter table outbox add constraint broken check (destination !~ 'GrantCredits') not valid")

    with pytest.raises(Exception, match="broken"):
        await fixture.deliver(webhook(renewed, "msg_1"))

    assert await fixture.stored_events() == {"msg_1": None}
    assert await fixture.store.find(new.subscription_id) == new
    await fixture.change("alter table outbox drop constraint broken")
    await fixture.deliver(webhook(renewed, "msg_1"))
    async with fixture.database.connection() as connection:
        grants = await connection.fetchval("select count(*) from outbox where destination ~ 'GrantCredits'")
        months = await connection.fetchval("select count(*) from granted_months")
    assert grants == months == 2
