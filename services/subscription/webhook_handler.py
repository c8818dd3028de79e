"""Webhook processing: each webhook is stored first, and takes effect at most once.

The sender gets its answer after both commits. A stored webhook is held if its subscription is unknown or its payload
cannot be parsed. A held webhook is processed again at its next delivery, once an hour, and when an operator resolves
it. Operators find held webhooks with `solo60 doctor`, the metric `webhooks_held` and ListHeldWebhooks.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from contracts.errors import InvalidRequest, ServiceError, SubscriptionNotFound
from interceptors.context import detached_work
from mesh.data.conflicts import retried_on_conflict
from mesh.webhooks.signature import verify_card_processor, verify_standard
from services.subscription.reports import Ended, PaymentFailed, Renewed, TrialEnding
from services.subscription.webhook_inbox import Event, HoldReason, Scheme, WebhookRef
from services.subscription.webhook_payload import parse_card_processor, parse_event_id, parse_standard

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from uuid import UUID

    from mesh.webhooks.signature import WebhookKeys
    from services.subscription.commands import SubscriptionCommands
    from services.subscription.metrics import WebhookMetrics
    from services.subscription.store import SubscriptionStore, SubscriptionTransaction
    from services.subscription.webhook_inbox import HeldWebhook, WebhookInbox
    from services.subscription.webhook_payload import ParsedWebhook

# A younger webhook may still be processed by the call that stored it.
MIN_RETRY_AGE = timedelta(minutes=1)

_PARSERS = {Scheme.STANDARD: parse_standard, Scheme.PROCESSOR: parse_card_processor}
_EVENTS = {
    Renewed: Event.RENEWED,
    PaymentFailed: Event.PAYMENT_FAILED,
    TrialEnding: Event.TRIAL_ENDING,
    Ended: Event.ENDED,
}

_log = structlog.stdlib.get_logger("solo60.subscription.webhooks")


class WebhookHandler:
    """Handler of webhooks: verifies, stores and applies them. `now` returns the current time in UTC."""

    def __init__(
        self,
        store: SubscriptionStore,
        inbox: WebhookInbox,
        commands: SubscriptionCommands,
        keys: WebhookKeys,
        metrics: WebhookMetrics,
        now: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._inbox = inbox
        self._commands = commands
        self._keys = keys
        self._metrics = metrics
        self._now = now

    async def process_standard(self, webhook_id: str, timestamp: str, payload: bytes, signature: str) -> Event:
        """Verify, store and process a webhook of the Standard Webhooks scheme; return its event.

        Raises WebhookSignatureInvalid. Raises InvalidRequest or SubscriptionNotFound after storing the webhook.
        """
        verify_standard(self._keys.standard, webhook_id, timestamp, payload, signature, self._now())
        return await self._store_and_process(WebhookRef(Scheme.STANDARD, webhook_id), payload)

    async def process_card_processor(self, payload: bytes, signature: str) -> Event:
        """Verify, store and process a webhook of the card processor's own scheme; return its event.

        Raises WebhookSignatureInvalid, or InvalidRequest if the event has no id. After storing the webhook, raises the
        same errors as `process_standard`.
        """
        verify_card_processor(self._keys.processor, payload, signature, self._now())
        return await self._store_and_process(WebhookRef(Scheme.PROCESSOR, parse_event_id(payload)), payload)

    async def process_own(self, webhook_id: str, payload: bytes) -> Event:
        """Store and process a webhook that this service has made itself, in the format of Standard Webhooks."""
        return await self._store_and_process(WebhookRef(Scheme.STANDARD, webhook_id), payload)

    async def process_fetched(self, payload: bytes) -> None:
        """Store and process an event that this service has fetched from the card processor.

        An event that cannot be parsed is held, so that it does not stop the caller from processing the others.
        """
        # `_hold` logs the error.
        with suppress(InvalidRequest):
            await self._store_and_process(WebhookRef(Scheme.PROCESSOR, parse_event_id(payload)), payload)

    async def release(self, processor_id: str) -> None:
        """Process the webhooks that are held for a subscription at the card processor."""
        await self._process_all(await self._inbox.held_of(processor_id))

    async def resolve(self, ref: WebhookRef, subscription_id: UUID) -> Event:
        """Apply a held webhook to one of our subscriptions, and return its event.

        Links the card processor's subscription to ours, and processes the other webhooks held for the processor's
        subscription. A webhook that is already processed stays unchanged. Raises WebhookNotFound, SubscriptionNotFound,
        or InvalidRequest if the payload cannot be parsed.
        """
        await self._inbox.require_stored(ref)
        event = await self._process(ref, override=subscription_id)
        await self.show_held()
        return event

    async def dismiss(self, ref: WebhookRef) -> Event:
        """Settle a held webhook without effect, and return its event; raise WebhookNotFound.

        Webhooks for the same subscription at the card processor are ignored from then on.
        """
        await self._inbox.require_stored(ref)
        event, foreign_id = await self._settle_without_effect(ref)
        if foreign_id:
            await self._process_all(await self._inbox.held_of(foreign_id))
        await self.show_held()
        return event

    async def list_held(self, limit: int, *, after: tuple[Scheme, str] | None) -> list[HeldWebhook]:
        """Return at most `limit` held webhooks, from the beginning or after the scheme and id of a webhook."""
        return await self._inbox.list_held(limit, after=after)

    async def tidy(self) -> None:
        """Process held and interrupted webhooks again, and delete old processed ones."""
        await self._process_all(await self._inbox.find_unsettled(self._now() - MIN_RETRY_AGE))
        await self._inbox.delete_old(self._now())
        await self.show_held()

    async def show_held(self) -> None:
        """Update the metric of held webhooks."""
        self._metrics.show_held(await self._inbox.count_held())

    async def _store_and_process(self, ref: WebhookRef, payload: bytes) -> Event:
        await self._inbox.store(ref, payload, self._now())
        return await self._process(ref)

    async def _process_all(self, refs: list[WebhookRef]) -> None:
        for ref in refs:
            # `_hold` logs the error.
            with suppress(ServiceError), detached_work():
                await self._process(ref)

    async def _process(self, ref: WebhookRef, *, override: UUID | None = None) -> Event:
        """Process a webhook, and then the webhooks held for the same subscription.

        Raises InvalidRequest or SubscriptionNotFound after holding the webhook.
        """
        progress = _Progress()
        try:
            event = await self._process_in_transaction(ref, override, progress)
        except InvalidRequest:
            await self._hold(ref, HoldReason.UNREADABLE, progress)
            raise
        except SubscriptionNotFound:
            if override is not None:
                raise
            event = await self._hold_and_try_again(ref, HoldReason.UNKNOWN_SUBSCRIPTION, progress)
        if event is Event.UNATTRIBUTED:
            event = await self._hold_and_try_again(ref, HoldReason.UNATTRIBUTED, progress)
        if progress.is_link_new:
            await self._process_all(await self._inbox.held_of(progress.processor_id))
        return event

    async def _hold_and_try_again(self, ref: WebhookRef, reason: HoldReason, progress: _Progress) -> Event:
        """Hold a webhook and process it once more.

        The subscription may have been stored after the first attempt, and before the webhook was held.
        """
        await self._hold(ref, reason, progress)
        return await self._process_in_transaction(ref, None, progress)

    @retried_on_conflict
    async def _process_in_transaction(self, ref: WebhookRef, override: UUID | None, progress: _Progress) -> Event:
        async with self._store.transaction() as tx:
            stored = await self._inbox.lock(tx, ref)
            if stored.event is not None:
                return stored.event
            parsed = _PARSERS[ref.scheme](stored.payload or b"")
            event = Event.IGNORED
            if parsed is not None:
                progress.processor_id = parsed.processor_id
                event = await self._apply(tx, parsed, override, progress)
            if event is not Event.UNATTRIBUTED:
                await self._inbox.settle(tx, ref, event)
            return event

    @retried_on_conflict
    async def _settle_without_effect(self, ref: WebhookRef) -> tuple[Event, str]:
        """Settle a held webhook; return its event, and the processor's id that is foreign from now on, or ""."""
        async with self._store.transaction() as tx:
            stored = await self._inbox.lock(tx, ref)
            if stored.event is not None:
                return stored.event, ""
            await self._inbox.settle(tx, ref, Event.IGNORED, dismissed=True)
            if stored.processor_id:
                await tx.links.mark_foreign(stored.processor_id, self._now())
            return Event.IGNORED, stored.processor_id

    async def _apply(
        self, tx: SubscriptionTransaction, parsed: ParsedWebhook, override: UUID | None, progress: _Progress
    ) -> Event:
        subscription_id = override or await self._subscription_of(tx, parsed)
        if subscription_id is None:
            is_unattributed = parsed.report is not None and not await tx.links.is_foreign(parsed.processor_id)
            return Event.UNATTRIBUTED if is_unattributed else Event.IGNORED
        await tx.lock(subscription_id)
        if parsed.processor_id:
            progress.is_link_new = await tx.links.link(parsed.processor_id, subscription_id, self._now())
        if parsed.report is None:
            return Event.IGNORED
        await self._commands.apply_report(tx, subscription_id, parsed.report)
        return _EVENTS[type(parsed.report)]

    @staticmethod
    async def _subscription_of(tx: SubscriptionTransaction, parsed: ParsedWebhook) -> UUID | None:
        """Return our subscription id for a parsed webhook; None if no id or link identifies it.

        Raises SubscriptionNotFound if a webhook with a report names an id that does not exist here.
        """
        named = parsed.subscription_id
        if named is not None and await tx.exists(named):
            return named
        linked = await tx.links.find(parsed.processor_id)
        is_unknown = linked is None and named is not None and parsed.report is not None
        if is_unknown and not await tx.links.is_foreign(parsed.processor_id):
            raise SubscriptionNotFound
        return linked

    async def _hold(self, ref: WebhookRef, reason: HoldReason, progress: _Progress) -> None:
        await self._inbox.hold(ref, reason, progress.processor_id)
        facts = {"scheme": ref.scheme, "webhook_id": ref.webhook_id, "processor_id": progress.processor_id}
        _log.warning("webhook held", reason=reason, **facts)
        await self.show_held()


@dataclass(slots=True)
class _Progress:
    """Facts about one webhook that survive a rollback of its transaction."""

    processor_id: str = ""
    is_link_new: bool = False
