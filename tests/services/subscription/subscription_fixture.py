"""Fixture without running services: a database, and a clock that the test sets."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from prometheus_client import CollectorRegistry

from mesh.webhooks.signature import WebhookKeys
from services.subscription.commands import SubscriptionCommands
from services.subscription.follow_ups import FollowUps
from services.subscription.metrics import WebhookMetrics
from services.subscription.store import SubscriptionStore
from services.subscription.webhook_handler import WebhookHandler
from services.subscription.webhook_inbox import WebhookInbox
from solo60.payment.v1.payment_pb2_grpc import PaymentServiceStub
from solo60.subscription.v1.subscription_pb2_grpc import SubscriptionServiceStub
from tests.services.subscription.subscription_mesh import FOUR_HOURS
from tests.support.offline_stub import offline_stub
from tests.support.webhook_signing import STANDARD_KEY

if TYPE_CHECKING:
    from mesh.data.database import Database
    from services.subscription.domain import Subscription
    from services.subscription.store import SubscriptionTransaction
    from solo60.subscription.v1.subscription_pb2 import ProcessWebhookRequest


class SubscriptionFixture:
    """Commands and webhook handler on a database. `now` is the fixed time; calls to other services fail."""

    def __init__(self, database: Database) -> None:
        self.now = datetime.now(UTC)
        self.database = database
        self.store = SubscriptionStore(database)
        stubs = offline_stub(PaymentServiceStub), offline_stub(SubscriptionServiceStub)
        follow_ups = FollowUps(*stubs, in_test_mode=True)
        self.commands = SubscriptionCommands(follow_ups, lambda: self.now)
        inbox, keys = WebhookInbox(database), WebhookKeys(standard=(STANDARD_KEY,))
        self.metrics = CollectorRegistry()
        metrics = WebhookMetrics(self.metrics)
        self.webhook_handler = WebhookHandler(self.store, inbox, self.commands, keys, metrics, lambda: self.now)

    async def subscribe_new_user(self) -> Subscription:
        """Subscribe a new user."""
        return await self.subscribe_user(uuid4())

    async def subscribe_user(self, user_id: UUID) -> Subscription:
        """Subscribe a user in a separate transaction."""
        async with self.store.transaction() as tx:
            return await self.subscribe(tx, user_id)

    async def subscribe(self, tx: SubscriptionTransaction, user_id: UUID, plan_id: str = FOUR_HOURS) -> Subscription:
        """Subscribe a user in a transaction."""
        await tx.lock_user(user_id)
        return await self.commands.subscribe(tx, await self.commands.order(tx, user_id, UUID(plan_id), trial_days=None))

    async def deliver(self, request: ProcessWebhookRequest) -> None:
        """Deliver a webhook in the format of Standard Webhooks."""
        given = (request.webhook_id, request.timestamp, request.payload, request.signature)
        await self.webhook_handler.process_standard(*given)

    async def stored_events(self) -> dict[str, str | None]:
        """Return the event of each stored webhook by its id; None if it is held."""
        async with self.database.connection() as connection:
            rows = await connection.fetch("select webhook_id, event from webhooks")
        return {row["webhook_id"]: row["event"] for row in rows}

    async def change(self, statement: str, *values: object) -> None:
        """Run a statement that bypasses the service."""
        async with self.database.connection() as connection:
            await connection.execute(statement, *values)
