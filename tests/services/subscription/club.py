"""A club for one test: the real services around subscriptions, their inbox, and a processor that signs webhooks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import orjson

from mesh.inbox import read_inbox
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
from tests.services.subscription.signing import processor_signature, standard_signature
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from mesh.inbox import Mail
    from solo60.subscription.v1.subscription_pb2_grpc import SubscriptionServiceAsyncStub
    from solo60.user.v1.user_pb2_grpc import UserServiceAsyncStub
    from tests.support.serving import MeshForTests

SERVICES = {each.SERVICE.name: each.SERVICE for each in (user, payment, communication, subscription)}
# £39.00 a month for 40 credits, without a trial; £89.00 for 100, after a trial of 14 days.
FOUR_HOURS = "01980000-0000-7000-8000-000000000004"
TEN_HOURS = "01980000-0000-7000-8000-00000000000a"
GOOD_CARD = PaymentMethod(card_token="tok_visa")  # noqa: S106 - a test card
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Club:
    """The mesh, stubs with every scope, and what a test asks of them again and again."""

    mesh: MeshForTests
    inbox_folder: Path

    @property
    def subscriptions(self) -> SubscriptionServiceAsyncStub:
        """The service that is tested."""
        return self.mesh.stub(SubscriptionServiceStub)

    @property
    def users(self) -> UserServiceAsyncStub:
        """Who may subscribe."""
        return self.mesh.stub(UserServiceStub)

    async def a_member(self, **fields: Any) -> str:  # noqa: ANN401 - any field
        """Add a member and return the id."""
        given = {"email": f"{uuid4().hex}@members.example", "display_name": "Ada Byron", **fields}
        return (await self.users.CreateUser(CreateUserRequest(**given))).user.user_id

    async def subscribed(self, plan_id: str = FOUR_HOURS, user_id: str = "", **fields: Any) -> Subscription:  # noqa: ANN401 - any field
        """Subscribe a member, a new one unless told otherwise, and return the subscription."""
        request = CreateSubscriptionRequest(
            user_id=user_id or await self.a_member(), plan_id=plan_id, payment_method=GOOD_CARD, **fields
        )
        return (await self.subscriptions.CreateSubscription(request)).subscription

    async def cancelled(self, of: Subscription, *, at_period_end: bool = False) -> Subscription:
        """Cancel a subscription and return it."""
        request = CancelSubscriptionRequest(subscription_id=of.subscription_id, at_period_end=at_period_end)
        return (await self.subscriptions.CancelSubscription(request)).subscription

    async def now(self, of: Subscription) -> Subscription:
        """Return a subscription as it is now."""
        request = GetSubscriptionRequest(subscription_id=of.subscription_id)
        return (await self.subscriptions.GetSubscription(request)).subscription

    async def status(self, of: Subscription) -> str:
        """Return where a subscription stands: "ACTIVE"."""
        return SubscriptionStatus.Name((await self.now(of)).status).removeprefix("SUBSCRIPTION_STATUS_")

    async def deliver(self, request: ProcessWebhookRequest) -> str:
        """Deliver a webhook and return what it was taken for: "RENEWED"."""
        response = await self.subscriptions.ProcessWebhook(request)
        return WebhookEvent.Name(response.event).removeprefix("WEBHOOK_EVENT_")

    async def balance(self, user_id: str) -> int:
        """Return a member's credits, once all that was granted has arrived."""
        await self.settled()
        response = await self.mesh.stub(PaymentServiceStub).GetBalance(GetBalanceRequest(user_id=user_id))
        return response.credits

    async def mails(self) -> dict[str, Mail]:
        """Wait until all that is to be said now has come, and return it by subject, of which each is said once."""
        await self.settled()

        async def have_come() -> bool:
            handed_over = await self.fetch("communication", "select message_id from messages")
            return len(read_inbox(self.inbox_folder)) >= len(handed_over)

        await eventually(have_come)
        mails = read_inbox(self.inbox_folder)
        by_subject = {mail.subject: mail for mail in mails}
        assert len(by_subject) == len(mails)
        return by_subject

    async def reminders(self) -> list[tuple[int, datetime]]:
        """Return kind and day of each reminder that is to come."""
        left = "select payload, deliver_time from outbox where cancel_key ~ '^reminder/' and status = 'pending'"
        rows = await self.fetch("subscription", left)
        stub = self.subscriptions.SendSubscriptionMail
        request_type = stub.method.request_type  # type: ignore[attr-defined]  # the mesh's channels know it
        return [(request_type.FromString(payload).mail, time) for payload, time in rows]

    async def settled(self) -> None:
        """Wait until nothing is left to be delivered now, and see that nothing was given up."""

        async def is_settled() -> bool:
            due = "select message_id from outbox where status = 'pending' and deliver_time <= now()"
            return not await self.fetch("subscription", due)

        await eventually(is_settled)
        assert (
            await self.fetch("subscription", "select destination, last_error from outbox where status = 'dead'") == []
        )

    async def fetch(self, service: str, query: str, *values: object) -> list[Any]:
        """Look into the database of a service."""
        async with self.mesh.database(service).connection() as connection:
            return [tuple(row) for row in await connection.fetch(query, *values)]


def event(kind: str, of: Subscription | str, *, timestamp: datetime | None = None, **data: Any) -> bytes:  # noqa: ANN401 - any field
    """Return the payload that reports something of a subscription, in our own words."""
    subscription_id = of if isinstance(of, str) else of.subscription_id
    told = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in data.items()}
    data = {"subscription_id": subscription_id, **told}
    return orjson.dumps(
        {"type": f"subscription.{kind}", "timestamp": (timestamp or datetime.now(UTC)).isoformat(), "data": data}
    )


def month_after(of: Subscription, number: int = 1) -> dict[str, str]:
    """Return a period that follows the current one of a subscription: the next, or one after that."""
    end = of.current_period.end_time.ToDatetime(UTC)
    length = timedelta(days=31)
    return {
        "start_time": (end + (number - 1) * length).isoformat(),
        "end_time": (end + number * length).isoformat(),
    }


def webhook(payload: bytes, webhook_id: str = "", *, age: timedelta = timedelta()) -> ProcessWebhookRequest:
    """Sign a payload as Standard Webhooks, so long ago, under an id of its own unless told otherwise."""
    webhook_id = webhook_id or f"msg_{uuid4().hex}"
    timestamp = str(int((datetime.now(UTC) - age).timestamp()))
    signature = standard_signature(webhook_id, timestamp, payload)
    return ProcessWebhookRequest(payload=payload, webhook_id=webhook_id, timestamp=timestamp, signature=signature)


def processor_webhook(payload: bytes, *, age: timedelta = timedelta()) -> ProcessWebhookRequest:
    """Sign a payload as the card processor does, so long ago."""
    signature = processor_signature(int((datetime.now(UTC) - age).timestamp()), payload)
    return ProcessWebhookRequest(payload=payload, signature=signature, scheme=WEBHOOK_SCHEME_CARD_PROCESSOR)
