"""Test mode: a card processor inside the service, which moves no money and follows the clock of the service.

It reports by webhook, as a real processor does. Each webhook is stored first and applied once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from contracts.errors import CardDeclined
from services.subscription.processors.attempts import next_attempt, next_period, report_of
from services.subscription.reports import Ended, PaymentFailed, Renewed

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from uuid import UUID

    from mesh.data.database import Database
    from services.subscription.domain import Subscription
    from services.subscription.order import Order
    from services.subscription.reports import Report
    from services.subscription.store import SubscriptionStore
    from services.subscription.webhook_handler import WebhookHandler

GOOD_CARD = "tok_visa"  # a test card, not a secret
# Stripe's name for a card that is accepted and declines every charge.
CARD_THAT_FAILS_LATER = "tok_chargeCustomerFail"

_STORE_CARD = """
    insert into test_cards (subscription_id, is_declined) values ($1, $2)
    on conflict (subscription_id) do update set is_declined = excluded.is_declined
"""
_IS_DECLINED = "select is_declined from test_cards where subscription_id = $1"


class TestModeProcessor:
    """Card processor that accepts two test cards and charges nothing. `now` returns the current time in UTC."""

    __test__ = False  # otherwise pytest would collect the class because of its name

    def __init__(
        self, database: Database, store: SubscriptionStore, webhooks: WebhookHandler, now: Callable[[], datetime]
    ) -> None:
        self._database = database
        self._store = store
        self._webhooks = webhooks
        self._now = now

    async def start(self, order: Order, card_token: str) -> str:
        """Accept the card, unless it declines a charge that is due at once. Test mode has no id of its own."""
        is_declined = _declines_charges(card_token)
        if is_declined and not order.trial_days:
            raise CardDeclined
        await self._store_card(order.subscription_id, is_declined=is_declined)
        return ""

    async def find(self, order: Order) -> str | None:  # noqa: ARG002 - signature of the protocol
        """Return None: without a charge, an order that was not stored has no effect."""
        return None

    async def sync(self, subscription: Subscription) -> None:
        """Do nothing, because the next attempt is computed from the facts of the subscription."""

    async def discard(self, order: Order) -> None:
        """Do nothing, because nothing is charged for an order that was not stored."""

    async def replace_card(self, subscription: Subscription, card_token: str, key: str) -> None:  # noqa: ARG002 - signature of the protocol
        """Store the card, and pay the open period if the card works."""
        is_declined = _declines_charges(card_token)
        if is_declined and subscription.open_failure is not None:
            raise CardDeclined
        await self._store_card(subscription.subscription_id, is_declined=is_declined)
        if subscription.open_failure is not None:
            await self._report(subscription, Renewed(next_period(subscription)), self._now())

    async def catch_up(self, subscription: Subscription) -> None:
        """Make every attempt that is due, each at its own time, and report it."""
        subscription_id = subscription.subscription_id
        while True:
            attempt = next_attempt(subscription)
            if attempt is None or attempt.time > self._now():
                return
            is_declined = await self._is_declined(subscription_id)
            report = report_of(attempt, subscription, is_declined=is_declined)
            await self._report(subscription, report, attempt.time)
            changed = await self._store.find(subscription_id)
            if next_attempt(changed) == attempt:
                raise RuntimeError("a report of test mode has not changed the subscription")
            subscription = changed

    async def _report(self, subscription: Subscription, report: Report, time: datetime) -> None:
        kind, fields = _event_of(report)
        webhook_id = f"test_{subscription.subscription_id}_{kind}_{time.isoformat()}"
        period = next_period(subscription)
        data = {
            "subscription_id": str(subscription.subscription_id),
            "period": {"start_time": period.start, "end_time": period.end},
            **fields,
        }
        payload = {"type": f"subscription.{kind}", "timestamp": time.isoformat(), "data": data}
        await self._webhooks.process_own(webhook_id, orjson.dumps(payload))

    async def _store_card(self, subscription_id: UUID, *, is_declined: bool) -> None:
        async with self._database.connection() as connection:
            await connection.execute(_STORE_CARD, subscription_id, is_declined)

    async def _is_declined(self, subscription_id: UUID) -> bool:
        async with self._database.connection() as connection:
            return bool(await connection.fetchval(_IS_DECLINED, subscription_id))


def _declines_charges(card_token: str) -> bool:
    """Return whether an accepted card declines charges; raise CardDeclined for any other card."""
    if card_token not in (GOOD_CARD, CARD_THAT_FAILS_LATER):
        raise CardDeclined
    return card_token == CARD_THAT_FAILS_LATER


def _event_of(report: Report) -> tuple[str, dict[str, object]]:
    """Return the kind of the webhook about a report, and its data beside the period."""
    match report:
        case Renewed():
            return "renewed", {}
        case PaymentFailed(retry_time=retry_time):
            return "payment_failed", {"retry_time": retry_time}
        case Ended(end_time):
            return "ended", {"end_time": end_time}
        case _:
            raise TypeError(type(report))
