"""Mail metrics: how much waits to be sent and for how long, what is given up, and how attempts end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge

from services.communication.domain import Status

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from services.communication.domain import Backlog


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

        self._expired = Counter("mail_expired", "Messages that expired before they could be sent.", registry=registry)
        self._trouble = Gauge(
            "mail_server_trouble", "1 while the mail server cannot be reached or turns us away.", registry=registry
        )

    def attempted(self, status: Status) -> None:
        """Count an attempt: the message is then SENT, FAILED or DEAD; or a message that EXPIRED without one."""
        if status is Status.EXPIRED:
            self._expired.inc()
        else:
            self._attempts.labels(status).inc()

    def show_server(self, *, is_trouble: bool) -> None:
        """Show whether the mail server cannot be reached or turns us away."""
        self._trouble.set(is_trouble)

    def show_backlog(self, backlog: Backlog) -> None:
        """Show what waits and what is given up."""
        self._waiting.set(backlog.waiting)
        self._oldest.set(backlog.oldest_s)
        self._dead.set(backlog.dead)
