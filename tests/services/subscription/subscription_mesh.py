"""Test environment of the subscription service: the real services that it calls, a mail inbox, and signed webhooks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import orjson

from local.mail_sink import read_mails
from services.communication import app as communication
from services.payment import app as payment
from services.subscription import app as subscription
from services.user import app as user
from solo60.payment.v1.payment_pb2 import GetBalanceRequest
from solo60.payment.v1.payment_pb2_grpc import PaymentServiceStub
from solo60.subscription.v1.subscription_pb2 import (
    WEBHOOK_SCHEME_CARD_PROCESSOR,
    CancelSubscriptionRequest,
    CreateSubscriptionRequest,
    GetSubscriptionRequest,
    PaymentMethod,
    ProcessWebhookRequest,
    Subscription,
    SubscriptionStatus,
    WebhookEvent,
)
from solo60.subscription.v1.subscription_pb2_grpc import SubscriptionServiceStub
from solo60.user.v1.user_pb2 import CreateUserRequest
from solo60.user.v1.user_pb2_grpc import UserServiceStub
from tests.support.eventually import eventually
from tests.support.webhook_signing import processor_signature, standard_signature

if TYPE_CHECKING:
    from pathlib import Path

    from local.mail_sink import Mail
    from mesh.serving.service import Service
    from solo60.subscription.v1.subscription_pb2_grpc import SubscriptionServiceAsyncStub
    from solo60.user.v1.user_pb2_grpc import UserServiceAsyncStub
    from tests.support.serving import MeshForTests

# One process serves all of them, so only the subscription service may listen at HTTP_ADDRESS.
SERVICES = {
    each.name: each
    for each in (user.SERVICE, payment.SERVICE, replace(communication.SERVICE, http=None), subscription.SERVICE)
}
# £39.00 a month for 40 credits, without a trial; £89.00 for 100, after a trial of 14 days.
FOUR_HOURS = "01980000-0000-7000-8000-000000000004"
TEN_HOURS = "01980000-0000-7000-8000-00000000000a"
GOOD_CARD = PaymentMethod(card_token="tok_visa")  # noqa: S106 - a test card
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class SubscriptionMesh:
    """Running mesh with stubs that have every scope, and shortcuts for common calls."""

    services: MeshForTests
    inbox_folder: Path
    card_token: str = GOOD_CARD.card_token

    @property
    def subscriptions(self) -> SubscriptionServiceAsyncStub:
        """Stub of the subscription service, which is under test."""
        return self.services.stub(SubscriptionServiceStub)

    @property
    def http_url(self) -> str:
        """URL of the subscription service's HTTP listener."""
        return f"http://{self.services.settings.http_address}"

    @property
    def users(self) -> UserServiceAsyncStub:
        """Stub of the user service."""
        return self.services.stub(UserServiceStub)

    async def create_member(self, **fields: Any) -> str:
        """Add a member and return the id."""
        given = {"email": f"{uuid4().hex}@members.example", "display_name": "Ada Byron", **fields}
        return (await self.users.CreateUser(CreateUserRequest(**given))).user.user_id

    async def subscribe(self, plan_id: str = FOUR_HOURS, user_id: str = "", **fields: Any) -> Subscription:
        """Subscribe a member and return the subscription; without `user_id`, create the member first."""
        method = PaymentMethod(card_token=self.card_token)
        request = CreateSubscriptionRequest(
            user_id=user_id or await self.create_member(), plan_id=plan_id, payment_method=method, **fields
        )
        return (await self.subscriptions.CreateSubscription(request)).subscription

    async def cancel(self, subscription: Subscription, *, at_period_end: bool = False) -> Subscription:
        """Cancel a subscription and return it."""
        request = CancelSubscriptionRequest(subscription_id=subscription.subscription_id, at_period_end=at_period_end)
        return (await self.subscriptions.CancelSubscription(request)).subscription

    async def get(self, subscription: Subscription) -> Subscription:
        """Return the current state of a subscription."""
        request = GetSubscriptionRequest(subscription_id=subscription.subscription_id)
        return (await self.subscriptions.GetSubscription(request)).subscription

    async def status(self, subscription: Subscription) -> str:
        """Return the status of a subscription, for example "ACTIVE"."""
        return SubscriptionStatus.Name((await self.get(subscription)).status).removeprefix("SUBSCRIPTION_STATUS_")

    async def deliver(self, request: ProcessWebhookRequest) -> str:
        """Deliver a webhook and return the event of the answer, for example "RENEWED"."""
        response = await self.subscriptions.ProcessWebhook(request)
        return WebhookEvent.Name(response.event).removeprefix("WEBHOOK_EVENT_")

    async def balance(self, user_id: str) -> int:
        """Wait until every due message is delivered, and return a member's credits."""
        await self.wait_until_settled()
        response = await self.services.stub(PaymentServiceStub).GetBalance(GetBalanceRequest(user_id=user_id))
        return response.credits

    async def advance_to(self, time: datetime) -> None:
        """Move the clock of all services to `time`, and wait until everything due is done."""
        self.services.clock.advance(time - self.services.clock.now())
        await self.wait_until_settled()

    async def restart_after(self, service: Service, downtime: timedelta) -> None:
        """Stop a service, move the clock of all services, and start it again on its database."""
        database_url = self.services.database_url_of(service.name)
        await self.services.stop(service.name)
        self.services.clock.advance(downtime)
        await self.services.start(service, database_url)

    async def mails(self) -> dict[str, Mail]:
        """Wait until every due mail has arrived, and return the mails by subject. Every subject must be unique."""
        mails = await self.all_mails()
        by_subject = {mail.subject: mail for mail in mails}
        assert len(by_subject) == len(mails)
        return by_subject

    async def all_mails(self) -> list[Mail]:
        """Wait until every due mail has arrived, and return the mails."""
        await self.wait_until_settled()

        async def have_arrived() -> bool:
            accepted = await self.fetch("communication", "select message_id from messages")
            return len(read_mails(self.inbox_folder)) >= len(accepted)

        await eventually(have_arrived)
        return read_mails(self.inbox_folder)

    async def reminders(self) -> list[tuple[int, datetime]]:
        """Return kind and date of each scheduled reminder."""
        left = (
            "select payload, deliver_time from outbox where cancel_key ~ '^reminder/' and status = 'pending' order by 2"
        )
        rows = await self.fetch("subscription", left)
        stub = self.subscriptions.SendSubscriptionMail
        request_type = stub.method.request_type  # type: ignore[attr-defined]  # set by the mesh's channels
        return [(request_type.FromString(payload).mail, time) for payload, time in rows]

    async def wait_until_settled(self) -> None:
        """Wait until no due message is pending, and assert that there is no dead letter."""

        async def is_settled() -> bool:
            due = "select message_id from outbox where status = 'pending' and deliver_time <= $1"
            return not await self.fetch("subscription", due, self.services.clock.now())

        await eventually(is_settled)
        assert (
            await self.fetch("subscription", "select destination, last_error from outbox where status = 'dead'") == []
        )

    async def fetch(self, service: str, query: str, *values: object) -> list[Any]:
        """Query the database of a service."""
        async with self.services.database(service).connection() as connection:
            return [tuple(row) for row in await connection.fetch(query, *values)]


def event(kind: str, subscription: Subscription | str, *, timestamp: datetime | None = None, **data: Any) -> bytes:
    """Return an event about a subscription as a payload in Solo60's own webhook format."""
    subscription_id = subscription if isinstance(subscription, str) else subscription.subscription_id
    fields = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in data.items()}
    data = {"subscription_id": subscription_id, **fields}
    return orjson.dumps(
        {"type": f"subscription.{kind}", "timestamp": (timestamp or datetime.now(UTC)).isoformat(), "data": data}
    )


def month_after(subscription: Subscription, number: int = 1) -> dict[str, str]:
    """Return a billing period after the current one of a subscription: the next for 1, the one after it for 2."""
    end = subscription.current_period.end_time.ToDatetime(UTC)
    length = timedelta(days=31)
    return {
        "start_time": (end + (number - 1) * length).isoformat(),
        "end_time": (end + number * length).isoformat(),
    }


def webhook(payload: bytes, webhook_id: str = "", *, age: timedelta = timedelta()) -> ProcessWebhookRequest:
    """Sign a payload by Standard Webhooks `age` ago; without `webhook_id`, under a new id."""
    webhook_id = webhook_id or f"msg_{uuid4().hex}"
    timestamp = str(int((datetime.now(UTC) - age).timestamp()))
    signature = standard_signature(webhook_id, timestamp, payload)
    return ProcessWebhookRequest(payload=payload, webhook_id=webhook_id, timestamp=timestamp, signature=signature)


def processor_webhook(payload: bytes, *, age: timedelta = timedelta()) -> ProcessWebhookRequest:
    """Sign a payload in the card processor's scheme, `age` ago."""
    signature = processor_signature(int((datetime.now(UTC) - age).timestamp()), payload)
    return ProcessWebhookRequest(payload=payload, signature=signature, scheme=WEBHOOK_SCHEME_CARD_PROCESSOR)
