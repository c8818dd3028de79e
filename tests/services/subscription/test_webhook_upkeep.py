from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest

from contracts.errors import SubscriptionNotFound
from mesh.channel import Channels
from mesh.config import Settings
from services.subscription.desk import Desk
from services.subscription.domain import Status
from services.subscription.follow_ups import FollowUps
from services.subscription.store import SubscriptionStore
from services.subscription.webhook_desk import WebhookDesk
from services.subscription.webhook_inbox import WebhookInbox
from services.subscription.webhook_signature import WebhookKeys
from solo60.payment.v1.payment_pb2_grpc import PaymentServiceStub
from solo60.subscription.v1.subscription_pb2_grpc import SubscriptionServiceStub
from tests.services.subscription.club import FOUR_HOURS, event, webhook
from tests.services.subscription.signing import STANDARD_KEY

if TYPE_CHECKING:
    from mesh.database import Database
    from services.subscription.domain import Subscription
    from solo60.subscription.v1.subscription_pb2 import ProcessWebhookRequest
    from tests.support.postgres import DatabaseOpener

DAY = timedelta(days=1)


class Office:
    """The desks on a database that no service runs on, at a time that stands still; its stubs call nobody."""

    def __init__(self, database: Database) -> None:
        self.now = datetime.now(UTC)
        self.database = database
        self.store = SubscriptionStore(database)
        channels = Channels(Settings(_env_file=None), lambda: "no key")  # type: ignore[call-arg]  # pydantic-settings' own argument
        follow_ups = FollowUps(channels.stub(PaymentServiceStub), channels.stub(SubscriptionServiceStub))
        self.desk = Desk(follow_ups, lambda: self.now)
        inbox, keys = WebhookInbox(database), WebhookKeys(standard=(STANDARD_KEY,))
        self.webhook_desk = WebhookDesk(self.store, inbox, self.desk, keys, lambda: self.now)

    async def subscribed(self) -> Subscription:
        """Subscribe somebody."""
        return await self.store.run(
            lambda register: self.desk.subscribe(register, uuid4(), UUID(FOUR_HOURS), trial_days=None)
        )

    async def deliver(self, request: ProcessWebhookRequest) -> None:
        """Take a webhook in."""
        given = (request.webhook_id, request.timestamp, request.payload, request.signature)
        await self.webhook_desk.take_in_standard(*given)

    async def stored(self) -> dict[str, str | None]:
        """Return what is known of each webhook, by its id."""
        async with self.database.connection() as connection:
            rows = await connection.fetch("select webhook_id, event from webhooks")
        return {row["webhook_id"]: row["event"] for row in rows}

    async def change(self, statement: str, *values: object) -> None:
        """Change the database beside the service's own ways."""
        async with self.database.connection() as connection:
            await connection.execute(statement, *values)


@pytest.fixture
async def office(open_database: DatabaseOpener) -> Office:
    """Work on a database of the subscription service."""
    return Office(await open_database("subscription"))


async def test_what_was_left_over_acts_as_soon_as_it_can(office: Office) -> None:
    """T-i8: nothing that was stored needs another delivery; what still cannot act stays, and holds up nothing."""
    unknown, early = str(uuid4()), str(uuid4())
    for subscription_id, webhook_id in [(unknown, "msg_1"), (early, "msg_2")]:
        with pytest.raises(SubscriptionNotFound):
            await office.deliver(webhook(event("ended", subscription_id, end_time=office.now), webhook_id))
    new = await office.subscribed()
    payload = "update webhooks set payload = replace(convert_from(payload, 'utf8'), $1, $2)::bytea"
    await office.change(payload, early, str(new.subscription_id))

    await office.webhook_desk.tidy()
    assert await office.stored() == {"msg_1": None, "msg_2": None}  # their own calls may be at it still
    office.now += timedelta(minutes=2)
    await office.webhook_desk.tidy()

    assert await office.stored() == {"msg_1": None, "msg_2": "ended"}
    assert (await office.store.find(new.subscription_id)).status(office.now) is Status.EXPIRED


async def test_a_webhook_is_known_for_a_month(office: Office) -> None:
    """T-i8: the id for 30 days at least, whether or not it could be acted upon; what it held no longer than needed."""
    new = await office.subscribed()
    await office.deliver(webhook(event("trial_ending", str(new.subscription_id)), "msg_1"))
    with pytest.raises(SubscriptionNotFound):
        await office.deliver(webhook(event("trial_ending", str(uuid4())), "msg_2"))

    office.now += 30 * DAY
    await office.webhook_desk.tidy()
    assert await office.stored() == {"msg_1": "trial_ending", "msg_2": None}
    office.now += 2 * DAY
    await office.webhook_desk.tidy()

    assert await office.stored() == {}


async def test_one_renewal_leaves_one_grant_in_the_same_transaction(office: Office) -> None:
    """T-g1: the note that a month is granted and the message that grants it are there together, or neither is."""
    new = await office.subscribed()
    period = {"start_time": new.current_period.end.isoformat(), "end_time": (office.now + 90 * DAY).isoformat()}
    renewed = event("renewed", str(new.subscription_id), period=period)
    await office.change("alter table outbox add constraint broken check (destination !~ 'GrantCredits') not valid")

    with pytest.raises(Exception, match="broken"):
        await office.deliver(webhook(renewed, "msg_1"))

    assert await office.stored() == {"msg_1": None}
    assert await office.store.find(new.subscription_id) == new
    await office.change("alter table outbox drop constraint broken")
    await office.deliver(webhook(renewed, "msg_1"))
    async with office.database.connection() as connection:
        grants = await connection.fetchval("select count(*) from outbox where destination ~ 'GrantCredits'")
        months = await connection.fetchval("select count(*) from granted_months")
    assert grants == months == 2
