"""Outbox metrics: size and age of the backlog, dead letters, and delivery attempts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge, Histogram

from mesh.outbox.message import DeliveryStatus

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import CollectorRegistry

_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600)


class OutboxMetrics:
    """Prometheus metrics of one process's outboxes, by destination."""

    def __init__(self, registry: CollectorRegistry) -> None:
        by = ("destination",)
        self._pending = Gauge("outbox_pending", "Pending messages.", by, registry=registry)
        self._dead = Gauge("outbox_dead_letters", "Dead letters.", by, registry=registry)
        self._oldest = Gauge(
            "outbox_oldest_pending_seconds", "Time since the oldest pending message was due.", by, registry=registry
        )
        self._attempts = Counter(
            "outbox_deliveries",
            "Delivery attempts, by resulting status.",
            (*by, "status"),
            registry=registry,
        )
        self._delay = Histogram(
            "outbox_delivery_delay_seconds",
            "Time from when a message was due until its receiver answered.",
            by,
            registry=registry,
            buckets=_BUCKETS_S,
        )

    def count_attempt(self, destination: str, status: DeliveryStatus, delay_s: float) -> None:
        """Count a delivery attempt with its resulting status; observe `delay_s` if the message is delivered."""
        self._attempts.labels(destination, status).inc()
        if status is DeliveryStatus.DELIVERED:
            self._delay.labels(destination).observe(delay_s)

    def set_backlog(self, backlog: Iterable[tuple[str, DeliveryStatus, int, float]]) -> None:
        """Set the gauges from tuples of destination, status, message count and age of the oldest in seconds."""
        for gauge in (self._pending, self._dead, self._oldest):
            gauge.clear()
        for destination, status, depth, oldest_s in backlog:
            (self._pending if status is DeliveryStatus.PENDING else self._dead).labels(destination).set(depth)
            if status is DeliveryStatus.PENDING:
                self._oldest.labels(destination).set(oldest_s)
