"""Prometheus metrics of held webhooks, which are stored but not processed yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import Gauge

from services.subscription.webhook_inbox import HoldReason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prometheus_client import CollectorRegistry


class WebhookMetrics:
    """Webhook metrics of one process. The counts cover the whole database."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._held = Gauge(
            "webhooks_held", "Webhooks that are stored but not processed yet.", ("reason",), registry=registry
        )

    def show_held(self, held: Mapping[HoldReason, int]) -> None:
        """Set the number of held webhooks for each reason; a reason without webhooks becomes 0."""
        for reason in HoldReason:
            self._held.labels(reason).set(held.get(reason, 0))
