"""Steps of CreateSubscription and UpdatePaymentMethod around the card processor, which no transaction waits for.

A subscription starts in three steps: the order is committed, the card processor starts the subscription, and the
subscription is committed in place of the order. A crash or a timeout between two steps leaves the order. Then the next
request with the same idempotency key continues it, or else a later call settles it.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

import structlog

from contracts.errors import AlreadySubscribed, SubscriptionNotActive, TrialUsed, Unavailable, UserNotActive
from mesh.data.conflicts import retried_on_conflict
from mesh.data.idempotency import KeyedRequest
from services.subscription.wire import render_subscription
from solo60.subscription.v1 import subscription_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from services.subscription.commands import SubscriptionCommands
    from services.subscription.domain import Subscription
    from services.subscription.follow_ups import FollowUps
    from services.subscription.order import Order
    from services.subscription.processors.interface import CardProcessor
    from services.subscription.store import SubscriptionStore, SubscriptionTransaction
    from services.subscription.webhook_handler import WebhookHandler

# By then, the request of an order has ended, and the card processor has finished any request that it received.
SETTLE_AFTER = timedelta(minutes=1)

_log = structlog.stdlib.get_logger("solo60.subscription")


class SubscriptionWorkflow:
    """Starts subscriptions and replaces cards, each once per idempotency key. `now` returns the current time in UTC."""

    def __init__(
        self,
        store: SubscriptionStore,
        commands: SubscriptionCommands,
        follow_ups: FollowUps,
        processor: CardProcessor,
        webhook_handler: WebhookHandler,
        now: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._commands = commands
        self._follow_ups = follow_ups
        self._processor = processor
        self._webhook_handler = webhook_handler
        self._now = now

    async def create(self, request: pb.CreateSubscriptionRequest) -> pb.CreateSubscriptionResponse:
        """Subscribe a user, or return the stored response to an earlier request with the same key.

        Raises PlanNotFound, AlreadySubscribed, TrialUsed, UserNotActive or CardDeclined; none of them charges the card.
        Raises Unavailable if the card processor does not answer.
        """
        order = await self._place(request)
        if isinstance(order, pb.CreateSubscriptionResponse):
            return order
        try:
            processor_id = await self._start(order, request.payment_method.card_token)
        except Unavailable:  # unknown outcome: the order stays
            raise
        except Exception:
            await self._drop(order)
            raise
        response = await self._complete_once(request, order, processor_id)
        await self._release(processor_id)
        return response

    async def settle(self, subscription_id: UUID) -> None:
        """Settle an order whose request has ended without an outcome."""
        async with self._store.transaction() as tx:
            order = await tx.orders.find(subscription_id)
        if order is None:
            return
        processor_id = await self._processor.find(order)
        if processor_id is not None:
            try:
                await self._complete(order, processor_id)
                await self._release(processor_id)
            except (AlreadySubscribed, TrialUsed, UserNotActive) as error:
                _log.error("paid order rejected", subscription_id=str(subscription_id), reason=error.reason_name())
                await self._processor.discard(order)
        await self._drop(order)

    async def replace_card(self, request: pb.UpdatePaymentMethodRequest) -> pb.UpdatePaymentMethodResponse:
        """Replace the card of a subscription, once per idempotency key.

        Raises SubscriptionNotFound, SubscriptionNotActive, CardDeclined or Unavailable.
        """
        keyed = KeyedRequest.of(request)
        async with self._store.transaction() as tx:
            stored = await tx.find_response(request, pb.UpdatePaymentMethodResponse)
        if stored is not None:
            return stored
        subscription = await self._store.find(UUID(request.subscription_id))
        if subscription.is_over(self._now()):
            raise SubscriptionNotActive
        key = f"card/{subscription.subscription_id}/{keyed.caller}/{keyed.key}"
        await self._processor.replace_card(subscription, request.payment_method.card_token, key)
        return await self._store_response(request)

    async def catch_up(self, subscription_id: UUID) -> None:
        """Process the reports of the card processor that have not arrived; raise SubscriptionNotFound."""
        await self._processor.catch_up(await self._store.find(subscription_id))

    async def sync(self, subscription_id: UUID) -> None:
        """Cancel or resume a subscription at the card processor as it is cancelled or resumed here.

        Raises SubscriptionNotFound.
        """
        await self._processor.sync(await self._store.find(subscription_id))

    async def _release(self, processor_id: str) -> None:
        """Process the webhooks of a new subscription that arrived before it was stored."""
        if processor_id:
            await self._webhook_handler.release(processor_id)

    async def _start(self, order: Order, card_token: str) -> str:
        """Start an order at the card processor, which may have started it for an earlier request."""
        found = await self._processor.find(order) if order.is_repeated else None
        return await self._processor.start(order, card_token) if found is None else found

    @retried_on_conflict
    async def _place(self, request: pb.CreateSubscriptionRequest) -> Order | pb.CreateSubscriptionResponse:
        """Return the order of a request, new or from an earlier attempt, or the response if it is complete."""
        keyed, user_id = KeyedRequest.of(request), UUID(request.user_id)
        async with self._store.transaction() as tx:
            await tx.lock_user(user_id)
            stored = await tx.find_response(request, pb.CreateSubscriptionResponse)
            if stored is not None:
                return stored
            placed = await tx.orders.find_by_key(keyed)
            if placed is not None:
                return placed
            if await tx.orders.has_open(user_id):
                raise AlreadySubscribed("Another subscription of this user is being started.")
            trial_days = request.trial_days if request.HasField("trial_days") else None
            new = await self._commands.order(tx, user_id, UUID(request.plan_id), trial_days=trial_days)
            await tx.orders.add(new, keyed)
            await self._follow_ups.settle(tx, new, self._now() + SETTLE_AFTER)
            return new

    @retried_on_conflict
    async def _complete_once(
        self, request: pb.CreateSubscriptionRequest, order: Order, processor_id: str
    ) -> pb.CreateSubscriptionResponse:
        async with self._store.transaction() as tx:
            work = partial(self._respond, tx, order, processor_id)
            return await tx.once(request, pb.CreateSubscriptionResponse, work)

    async def _respond(
        self, tx: SubscriptionTransaction, order: Order, processor_id: str
    ) -> pb.CreateSubscriptionResponse:
        new = await self._store_subscription(tx, order, processor_id)
        return pb.CreateSubscriptionResponse(subscription=render_subscription(new, self._now()))

    @retried_on_conflict
    async def _complete(self, order: Order, processor_id: str) -> None:
        async with self._store.transaction() as tx:
            # The request may have completed it meanwhile.
            if await tx.orders.find(order.subscription_id) is not None:
                await self._store_subscription(tx, order, processor_id)

    async def _store_subscription(self, tx: SubscriptionTransaction, order: Order, processor_id: str) -> Subscription:
        """Store the subscription of an order in place of the order, unless `settle` has stored it already.

        If `settle` has dropped the order because this request took so long, the subscription is stored all the same,
        because the card processor has started it.
        """
        if await tx.orders.find(order.subscription_id) is None and await tx.exists(order.subscription_id):
            return await tx.lock(order.subscription_id)
        new = await self._commands.subscribe(tx, order)
        if processor_id:
            await tx.links.link(processor_id, order.subscription_id, self._now())
        await self._delete(tx, order)
        return new

    @retried_on_conflict
    async def _drop(self, order: Order) -> None:
        async with self._store.transaction() as tx:
            await self._delete(tx, order)

    async def _delete(self, tx: SubscriptionTransaction, order: Order) -> None:
        await tx.orders.delete(order.subscription_id)
        await self._follow_ups.cancel_settling(tx, order)

    @retried_on_conflict
    async def _store_response(self, request: pb.UpdatePaymentMethodRequest) -> pb.UpdatePaymentMethodResponse:
        async with self._store.transaction() as tx:
            return await tx.once(request, pb.UpdatePaymentMethodResponse, partial(self._show, request))

    async def _show(self, request: pb.UpdatePaymentMethodRequest) -> pb.UpdatePaymentMethodResponse:
        subscription = await self._store.find(UUID(request.subscription_id))
        return pb.UpdatePaymentMethodResponse(subscription=render_subscription(subscription, self._now()))
