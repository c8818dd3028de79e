"""Stripe as the card processor: customers, plans and subscriptions there, each made once for one of ours.

A request that timed out may have had its effect. So each request that creates something has an idempotency key made of
our id, and `find` looks for the result by the metadata, which works after Stripe has forgotten the key.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

import orjson
import structlog

from contracts.errors import CardDeclined
from interceptors.context import current_context
from mesh.card_processor import RequestRejected
from services.subscription.webhook_payload import SUBSCRIPTION_ID_KEY

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    import stripe
    from stripe.params import SubscriptionCreateParams

    from mesh.card_processor import CardProcessorClient
    from services.subscription.domain import Subscription
    from services.subscription.order import Order
    from services.subscription.plans import Plan
    from services.subscription.processors.customers import Customers
    from services.subscription.webhook_handler import WebhookHandler

USER_ID_KEY = "solo60_user_id"
# Stripe's longest page. With one invoice a month, it covers more than eight years of downtime.
MAX_LISTED = 100
# Statuses at Stripe of a subscription whose first charge has failed, and of one that charges nothing any more.
UNPAID = ("incomplete", "incomplete_expired")
OVER = ("canceled", "incomplete_expired")
PAYMENT_METHOD_PREFIX = "pm_"

_log = structlog.stdlib.get_logger("solo60.subscription.stripe")


class StripeProcessor:
    """Card processor that charges real cards. `now` returns the current time in UTC."""

    def __init__(
        self,
        client: CardProcessorClient,
        customers: Customers,
        webhooks: WebhookHandler,
        now: Callable[[], datetime],
    ) -> None:
        self._client = client
        self._customers = customers
        self._webhooks = webhooks
        self._now = now
        # Plans that are known to exist at Stripe.
        self._known_plans: set[str] = set()

    async def start(self, order: Order, card_token: str) -> str:
        """Attach the card to the user's customer and start the subscription of an order; return Stripe's id of it."""
        plan_id, customer_id = await self._plan(order.plan), await self._customer(order)
        await self._attach(customer_id, card_token, f"subscription/{order.subscription_id}")
        params: SubscriptionCreateParams = {
            "customer": customer_id,
            "items": [{"plan": plan_id}],
            "metadata": {SUBSCRIPTION_ID_KEY: str(order.subscription_id)},
            # A declined card leaves no subscription behind.
            "payment_behavior": "error_if_incomplete",
        }
        if order.trial_end is not None:
            params["trial_end"] = int(order.trial_end.timestamp())
        options: stripe.RequestOptions = {"idempotency_key": f"subscription/{order.subscription_id}"}
        started = await self._client.ask(self._client.v1.subscriptions.create_async(params, options))
        if not _has_begun(started, order):
            await self._client.ask(self._client.v1.subscriptions.cancel_async(started.id))
            raise CardDeclined
        return started.id

    async def find(self, order: Order) -> str | None:
        """Return Stripe's id of the subscription that an earlier request has started, or None."""
        customer_id = await self._customers.find(order.user_id)
        if customer_id is None:
            return None
        found = await self._client.ask(
            self._client.v1.subscriptions.list_async({"customer": customer_id, "status": "all", "limit": MAX_LISTED})
        )
        named = (each for each in found.data if _our_id(each) == str(order.subscription_id))
        return next((each.id for each in named if _has_begun(each, order)), None)

    async def sync(self, subscription: Subscription) -> None:
        """Cancel the subscription at Stripe now or at the end of its period, or withdraw its planned end.

        Sets a state, so that a repeated or late call has the same result. A subscription that has ended at Stripe stays
        as it is, and a webhook reports its end.
        """
        processor_id = await self._customers.processor_id_of(subscription.subscription_id)
        if processor_id is None or subscription.processor_end_time is not None:
            return
        try:
            if subscription.end_time is not None and subscription.end_time <= self._now():
                await self._client.ask(self._client.v1.subscriptions.cancel_async(processor_id))
            else:
                await self._plan_end(processor_id, is_planned=subscription.end_time is not None)
        except RequestRejected as error:
            if error.status != HTTPStatus.NOT_FOUND and not await self._has_ended(processor_id):
                raise

    async def discard(self, order: Order) -> None:
        """Cancel the subscription of an order at once."""
        processor_id = await self.find(order)
        if processor_id is not None and not await self._has_ended(processor_id):
            await self._client.ask(self._client.v1.subscriptions.cancel_async(processor_id))

    async def replace_card(self, subscription: Subscription, card_token: str, key: str) -> None:
        """Attach the card as the default one, and pay the open invoices of the subscription with it."""
        customer_id = await self._customers.find(subscription.user_id)
        processor_id = await self._customers.processor_id_of(subscription.subscription_id)
        if customer_id is None or processor_id is None:
            _log.error("subscription unknown to Stripe", subscription_id=str(subscription.subscription_id))
            raise CardDeclined("The subscription began in test mode, so its card cannot be replaced.")
        await self._attach(customer_id, card_token, key)
        if subscription.open_failure is None:
            return
        for invoice in await self._invoices(processor_id):
            if invoice.status == "open" and invoice.id is not None:
                options: stripe.RequestOptions = {"idempotency_key": f"{key}/{invoice.id}"}
                paid = await self._client.ask(self._client.v1.invoices.pay_async(invoice.id, None, options))
                if paid.status == "open":
                    raise CardDeclined

    async def catch_up(self, subscription: Subscription) -> None:
        """Process Stripe's invoices and the end of the subscription as if their webhooks arrived now."""
        processor_id = await self._customers.processor_id_of(subscription.subscription_id)
        if processor_id is None:
            return
        for invoice in await self._invoices(processor_id):
            if invoice.status == "paid":
                await self._process(f"fetched_{invoice.id}", "invoice.paid", invoice)
        at_stripe = await self._client.ask(self._client.v1.subscriptions.retrieve_async(processor_id))
        if at_stripe.status in OVER:
            await self._process(f"fetched_{processor_id}", "customer.subscription.deleted", at_stripe)

    async def _process(self, event_id: str, kind: str, fetched: stripe.StripeObject) -> None:
        event = {
            "id": event_id,
            "type": kind,
            "created": int(self._now().timestamp()),
            "data": {"object": fetched.to_dict()},
        }
        await self._webhooks.process_fetched(orjson.dumps(event))

    async def _plan(self, plan: Plan) -> str:
        """Return Stripe's id of a plan, and create it if it is missing. Another price is another plan there."""
        plan_id = f"solo60-{plan.plan_id}-{plan.currency}-{plan.minor_units}".lower()
        if plan_id not in self._known_plans:
            try:
                await self._client.ask(self._client.v1.plans.retrieve_async(plan_id))
            except RequestRejected as error:
                if error.status != HTTPStatus.NOT_FOUND:
                    raise
                await self._create_plan(plan_id, plan)
            self._known_plans.add(plan_id)
        return plan_id

    async def _create_plan(self, plan_id: str, plan: Plan) -> None:
        await self._client.ask(
            self._client.v1.plans.create_async(
                {
                    "id": plan_id,
                    "amount": plan.minor_units,
                    "currency": plan.currency.lower(),
                    "interval": "month",
                    "product": {"name": plan.name},
                },
                {"idempotency_key": f"plan/{plan_id}"},
            )
        )

    async def _customer(self, order: Order) -> str:
        """Return the user's customer at Stripe, and create it if it is missing. It has no personal data."""
        found = await self._customers.find(order.user_id)
        if found is not None:
            return found
        created = await self._client.ask(
            self._client.v1.customers.create_async(
                {"metadata": {USER_ID_KEY: str(order.user_id)}}, {"idempotency_key": f"customer/{order.user_id}"}
            )
        )
        return await self._customers.add(order.user_id, created.id, self._now())

    async def _attach(self, customer_id: str, card_token: str, key: str) -> None:
        """Make a card the default of a customer. Raises CardDeclined, also for a token that Stripe does not know."""
        v1 = self._client.v1
        options: stripe.RequestOptions = {"idempotency_key": f"{key}/card"}
        try:
            if card_token.startswith(PAYMENT_METHOD_PREFIX):
                attached = await self._client.ask(
                    v1.payment_methods.attach_async(card_token, {"customer": customer_id}, options)
                )
                await self._client.ask(
                    v1.customers.update_async(
                        customer_id, {"invoice_settings": {"default_payment_method": attached.id}}
                    )
                )
            else:
                card = await self._client.ask(
                    v1.customers.payment_sources.create_async(customer_id, {"source": card_token}, options)
                )
                await self._client.ask(v1.customers.update_async(customer_id, {"default_source": card.id}))
        except RequestRejected as error:
            _log.warning("card token rejected", code=error.code, parameter=error.parameter, status=error.status)
            raise CardDeclined from None

    async def _plan_end(self, processor_id: str, *, is_planned: bool) -> None:
        # The key of the outbox message: the same for each delivery of one change, and another for the next change.
        context = current_context()
        options: stripe.RequestOptions = {"idempotency_key": f"sync/{context.idempotency_key}"} if context else {}
        await self._client.ask(
            self._client.v1.subscriptions.update_async(processor_id, {"cancel_at_period_end": is_planned}, options)
        )

    async def _has_ended(self, processor_id: str) -> bool:
        try:
            found = await self._client.ask(self._client.v1.subscriptions.retrieve_async(processor_id))
        except RequestRejected as error:
            return error.status == HTTPStatus.NOT_FOUND
        return found.status in OVER

    async def _invoices(self, processor_id: str) -> list[stripe.Invoice]:
        found = await self._client.ask(
            self._client.v1.invoices.list_async({"subscription": processor_id, "limit": MAX_LISTED})
        )
        return list(found.data)


def _has_begun(subscription: stripe.Subscription, order: Order) -> bool:
    """Return whether a subscription runs or ran: it has a trial, or its first charge has succeeded."""
    return order.trial_end is not None or subscription.status not in UNPAID


def _our_id(subscription: stripe.Subscription) -> str | None:
    found: str | None = subscription.metadata.to_dict().get(SUBSCRIPTION_ID_KEY)
    return found
