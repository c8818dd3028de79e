"""Webhook processing: each webhook is stored first, and takes effect at most once.

The sender gets its answer after both commits. A stored webhook is held if its subscription is unknown or its payload
cannot be parsed. A held webhook is processed again at its next delivery, once an hour, and when an operator resolves
it. Operators find held webhooks with `solo60 doctor`, the metric `webhooks_held` and ListHeldWebhooks.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import structlog

from contracts.errors import InvalidRequest, ServiceError, SubscriptionNotFound
from interceptors.context import detached_work
from services.subscription.reports import Ended, PaymentFailed, Renewed, TrialEnding
from services.subscription.webhook_inbox import Event, HoldReason, Scheme, WebhookRef
from services.subscription.webhook_payload import id_of_processor, read_processor, read_standard
from services.subscription.webhook_signature import verify_processor, verify_standard

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from uuid import UUID

    from services.subscription.desk import Desk
    from services.subscription.metrics import WebhookMetrics
    from services.subscription.store import Register, SubscriptionStore
    from services.subscription.webhook_inbox import HeldWebhook, WebhookInbox
    from services.subscription.webhook_payload import Notice
    from services.subscription.webhook_signature import WebhookKeys

# A younger webhook may still be processed by the call that stored it.
LEFT_OVER_AFTER = timedelta(minutes=1)

_READERS = {Scheme.STANDARD: read_standard, Scheme.PROCESSOR: read_processor}
_EVENTS = {
    Renewed: Event.RENEWED,
    PaymentFailed: Event.PAYMENT_FAILED,
    TrialEnding: Event.TRIAL_ENDING,
    Ended: Event.ENDED,
}

_log = structlog.stdlib.get_logger("solo60.subscription.webhooks")


class WebhookDesk:
    """Processor of webhooks: verifies, stores and applies them. `now` returns the current time in UTC."""

    def __init__(
        self,
        store: SubscriptionStore,
        inbox: WebhookInbox,
        desk: Desk,
        keys: WebhookKeys,
        metrics: WebhookMetrics,
        now: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._inbox = inbox
        self._desk = desk
        self._keys = keys
        self._metrics = metrics
        self._now = now

    async def take_in_standard(self, webhook_id: str, timestamp: str, payload: bytes, signature: str) -> Event:
        """Verify, store and process a webhook of the Standard Webhooks scheme; return its event.

        Raises WebhookSignatureInvalid. Raises InvalidRequest or SubscriptionNotFound after storing the webhook.
        """
        verify_standard(self._keys.standard, webhook_id, timestamp, payload, signature, self._now())
        return await self._take_in(WebhookRef(Scheme.STANDARD, webhook_id), payload)

    async def take_in_processor(self, payload: bytes, signature: str) -> Event:
        """Verify, store and process a webhook of the card processor's own scheme; return its event.

        Raises WebhookSignatureInvalid, or InvalidRequest if the event has no id. After storing the webhook, raises the
        same errors as `take_in_standard`.
        """
        verify_processor(self._keys.processor, payload, signature, self._now())
        return await self._take_in(WebhookRef(Scheme.PROCESSOR, id_of_processor(payload)), payload)

    async def resolve(self, ref: WebhookRef, subscription_id: UUID) -> Event:
        """Apply a held webhook to one of our subscriptions, and return its event.

        Links the card processor's subscription to ours, and processes the other webhooks held for the processor's
        subscription. A webhook that is already processed stays unchanged. Raises WebhookNotFound, SubscriptionNotFound,
        or InvalidRequest if the payload cannot be parsed.
        """
        await self._inbox.ensure_known(ref)
        event = await self._act(ref, override=subscription_id)
        await self.show_held()
        return event

    async def dismiss(self, ref: WebhookRef) -> Event:
        """Settle a held webhook without effect, and return its event; raise WebhookNotFound.

        Webhooks for the same subscription at the card processor are ignored from then on.
        """

        async def settle(register: Register) -> Event:
            kept = await self._inbox.lock(register.connection, ref)
            if kept.event is not None:
                return kept.event
            await self._inbox.settle(register.connection, ref, Event.IGNORED, dismissed=True)
            if kept.processor_id:
                await register.links.note_foreign(kept.processor_id, self._now())
                foreign.add(kept.processor_id)
            return Event.IGNORED

        foreign: set[str] = set()
        await self._inbox.ensure_known(ref)
        event = await self._store.run(settle)
        for processor_id in foreign:
            await self._act_upon(await self._inbox.held_of(processor_id))
        await self.show_held()
        return event

    async def list_held(self, limit: int, *, after: WebhookRef | None) -> list[HeldWebhook]:
        """Return at most `limit` held webhooks, from the beginning or after the webhook `after`."""
        return await self._inbox.list_held(limit, after=after)

    async def tidy(self) -> None:
        """Process held and interrupted webhooks again, and delete old processed ones."""
        await self._act_upon(await self._inbox.left_over(self._now() - LEFT_OVER_AFTER))
        await self._inbox.prune(self._now())
        await self.show_held()

    async def show_held(self) -> None:
        """Update the metric of held webhooks."""
        self._metrics.show_held(await self._inbox.count_held())

    async def _take_in(self, ref: WebhookRef, payload: bytes) -> Event:
        await self._inbox.keep(ref, payload, self._now())
        return await self._act(ref)

    async def _act_upon(self, refs: list[WebhookRef]) -> None:
        for ref in refs:
            # `_hold` logs the error.
            with suppress(ServiceError), detached_work():
                await self._act(ref)

    async def _act(self, ref: WebhookRef, *, override: UUID | None = None) -> Event:
        """Process a webhook, and then the webhooks held for the same subscription.

        Raises InvalidRequest or SubscriptionNotFound after holding the webhook.
        """
        trail = _Trail()
        act = partial(self._act_once, ref=ref, override=override, trail=trail)
        try:
            event = await self._store.run(act)
        except InvalidRequest:
            await self._hold(ref, HoldReason.UNREADABLE, trail)
            raise
        except SubscriptionNotFound:
            if override is None:
                await self._hold(ref, HoldReason.UNKNOWN_SUBSCRIPTION, trail)
            raise
        if event is Event.UNATTRIBUTED:
            await self._hold(ref, HoldReason.UNATTRIBUTED, trail)
        if trail.is_link_new:
            await self._act_upon(await self._inbox.held_of(trail.processor_id))
        return event

    async def _act_once(self, register: Register, *, ref: WebhookRef, override: UUID | None, trail: _Trail) -> Event:
        kept = await self._inbox.lock(register.connection, ref)
        if kept.event is not None:
            return kept.event
        notice = _READERS[ref.scheme](kept.payload or b"")
        event = Event.IGNORED
        if notice is not None:
            trail.processor_id = notice.processor_id
            event = await self._act_upon_notice(register, notice, override, trail)
        if event is not Event.UNATTRIBUTED:
            await self._inbox.settle(register.connection, ref, event)
        return event

    async def _act_upon_notice(self, register: Register, notice: Notice, override: UUID | None, trail: _Trail) -> Event:
        subscription_id = override or await self._subscription_of(register, notice)
        if subscription_id is None:
            is_news = notice.report is not None and not await register.links.is_foreign(notice.processor_id)
            return Event.UNATTRIBUTED if is_news else Event.IGNORED
        await register.lock(subscription_id)
        if notice.processor_id:
            trail.is_link_new = await register.links.link(notice.processor_id, subscription_id, self._now())
        if notice.report is None:
            return Event.IGNORED
        await self._desk.report(register, subscription_id, notice.report)
        return _EVENTS[type(notice.report)]

    @staticmethod
    async def _subscription_of(register: Register, notice: Notice) -> UUID | None:
        """Return our subscription id for a notice; None if no id or link identifies it.

        Raises SubscriptionNotFound if a notice with a report names an id that does not exist here.
        """
        named = notice.subscription_id
        if named is not None and await register.exists(named):
            return named
        linked = await register.links.linked(notice.processor_id)
        is_news = linked is None and named is not None and notice.report is not None
        if is_news and not await register.links.is_foreign(notice.processor_id):
            raise SubscriptionNotFound
        return linked

    async def _hold(self, ref: WebhookRef, reason: HoldReason, trail: _Trail) -> None:
        await self._inbox.hold(ref, reason, trail.processor_id)
        facts = {"scheme": ref.scheme, "webhook_id": ref.webhook_id, "processor_id": trail.processor_id}
        _log.warning("webhook held", reason=reason, **facts)
        await self.show_held()


@dataclass(slots=True)
class _Trail:
    """Facts about one webhook that survive a rollback of its transaction."""

    processor_id: str = ""
    is_link_new: bool = False
