"""The webhook desk: every webhook is stored before it is acted upon, and acted upon once.

Whoever delivers is answered when both are committed. What is stored and cannot be acted upon, because its subscription
is not there yet or its payload is not understood, acts at a later delivery, or within the hour once it can.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import structlog

from contracts.errors import ServiceError
from interceptors.context import detached_work
from services.subscription.domain import Ended, PaymentFailed, Renewed, TrialEnding
from services.subscription.webhook_inbox import Event, Scheme, WebhookRef
from services.subscription.webhook_payload import id_of_processor, read_processor, read_standard
from services.subscription.webhook_signature import verify_processor, verify_standard

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from services.subscription.desk import Desk
    from services.subscription.store import Register, SubscriptionStore
    from services.subscription.webhook_inbox import WebhookInbox
    from services.subscription.webhook_signature import WebhookKeys

# What came later may be acted upon by its own call still.
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
    """Takes webhooks in; `now` is the current time in UTC."""

    def __init__(
        self,
        store: SubscriptionStore,
        inbox: WebhookInbox,
        desk: Desk,
        keys: WebhookKeys,
        now: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._inbox = inbox
        self._desk = desk
        self._keys = keys
        self._now = now

    async def take_in_standard(self, webhook_id: str, timestamp: str, payload: bytes, signature: str) -> Event:
        """Store and act upon a webhook of Standard Webhooks, and return what it reports.

        Raises WebhookSignatureInvalid, and once it is stored, InvalidRequest or SubscriptionNotFound.
        """
        verify_standard(self._keys.standard, webhook_id, timestamp, payload, signature, self._now())
        return await self._take_in(WebhookRef(Scheme.STANDARD, webhook_id), payload)

    async def take_in_processor(self, payload: bytes, signature: str) -> Event:
        """Store and act upon a webhook that the card processor signed in its own way; else like the other."""
        verify_processor(self._keys.processor, payload, signature, self._now())
        return await self._take_in(WebhookRef(Scheme.PROCESSOR, id_of_processor(payload)), payload)

    async def _take_in(self, ref: WebhookRef, payload: bytes) -> Event:
        await self._inbox.keep(ref, payload, self._now())
        return await self._act(ref)

    async def _act(self, ref: WebhookRef) -> Event:
        return await self._store.run(partial(self._act_once, ref=ref))

    async def _act_once(self, register: Register, ref: WebhookRef) -> Event:
        kept = await self._inbox.lock(register.connection, ref)
        if kept.event is not None:
            return kept.event
        notice = _READERS[ref.scheme](kept.payload or b"")
        if notice is not None:
            await self._desk.report(register, notice)
        event = _EVENTS[type(notice.report)] if notice else Event.IGNORED
        await self._inbox.settle(register.connection, ref, event)
        return event

    async def tidy(self) -> None:
        """Act upon what was left over, as far as that can be done now, and forget what is old."""
        for ref in await self._inbox.left_over(self._now() - LEFT_OVER_AFTER):
            try:
                with detached_work():
                    await self._act(ref)
            except ServiceError as error:
                _log.warning("a webhook is left over", scheme=ref.scheme, reason=error.reason_name())
        await self._inbox.prune(self._now())
