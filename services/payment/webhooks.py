"""Webhooks of the card processor: verified here, and applied by the handler for their kind of event."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mesh.webhooks.signature import verify_card_processor
from services.payment.disputes.payload import parse_dispute
from services.payment.failed_refunds.payload import parse_failed_refund
from services.payment.stripe_events import parse_event
from solo60.payment.v1.payment_pb2 import ProcessWebhookResponse

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from services.payment.disputes.handler import DisputeHandler
    from services.payment.failed_refunds.handler import FailedRefundHandler


class WebhookHandler:
    """Handler of all webhooks, which passes each report on. Signatures by any of `keys` are valid."""

    def __init__(
        self,
        keys: tuple[bytes, ...],
        disputes: DisputeHandler,
        failed_refunds: FailedRefundHandler,
        now: Callable[[], datetime],
    ) -> None:
        self._keys = keys
        self._disputes = disputes
        self._failed_refunds = failed_refunds
        self._now = now

    async def process(self, payload: bytes, signature: str) -> ProcessWebhookResponse:
        """Verify and apply a webhook; return the kind of its report. Other events change nothing.

        Raises WebhookSignatureInvalid, or InvalidRequest if the payload cannot be parsed.
        """
        verify_card_processor(self._keys, payload, signature, self._now())
        event = parse_event(payload)
        if (dispute := parse_dispute(event)) is not None:
            await self._disputes.apply(dispute)
        if (failed_refund := parse_failed_refund(event)) is not None:
            await self._failed_refunds.apply(failed_refund)
        return ProcessWebhookResponse(is_dispute=dispute is not None, is_failed_refund=failed_refund is not None)
