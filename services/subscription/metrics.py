"""Webhook metrics: the number of webhooks that are stored and could not act."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import Gauge

from services.subscription.webhook_inbox import HoldReason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prometheus_client import CollectorRegistry


class WebhookMetrics:
    """The webhook metrics of one process; the number is that of the whole database."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._held = Gauge(
            "webhooks_held", "Webhooks that are stored and could not act.", ("reason",), registry=registry
        )

    def show_held(self, held: Mapping[HoldReason, int]) -> None:
        """Show how many webhooks wait, by reason."""
        for reason in HoldReason:
            self._held.labels(reason).set(held.get(reason, 0))
