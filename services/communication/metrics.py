"""Mail metrics: how much waits to be sent and for how long, what is given up, and how attempts end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from services.communication.domain import Backlog, Status


class MailMetrics:
    """The metrics of one process; what waits and what is given up is that of the whole database."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._waiting = Gauge("mail_waiting", "Messages to be sent.", registry=registry)
        self._oldest = Gauge(
            "mail_oldest_waiting_seconds", "How long ago the oldest message to be sent was stored.", registry=registry
        )
        self._dead = Gauge("mail_dead", "Messages given up.", registry=registry)
        self._attempts = Counter(
            "mail_attempts", "Attempts to send, by what became of the message.", ("status",), registry=registry
        )

    def attempted(self, status: Status) -> None:
        """Count an attempt: the message is then SENT, FAILED or DEAD."""
        self._attempts.labels(status).inc()

    def show_backlog(self, backlog: Backlog) -> None:
        """Show what waits and what is given up."""
        self._waiting.set(backlog.waiting)
        self._oldest.set(backlog.oldest_s)
        self._dead.set(backlog.dead)
