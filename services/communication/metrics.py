"""Prometheus metrics of mail: waiting and dead messages, attempts, and the state of the mail server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge

from services.communication.domain import MessageStatus

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from services.communication.domain import Backlog


class MailMetrics:
    """Mail metrics of one process. The numbers of waiting and dead messages cover the whole database."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._waiting = Gauge("mail_waiting", "Messages waiting to be sent.", registry=registry)
        self._oldest = Gauge(
            "mail_oldest_waiting_seconds", "Age of the oldest message waiting to be sent.", registry=registry
        )
        self._dead = Gauge("mail_dead", "Dead messages, which only an operator can retry.", registry=registry)
        self._attempts = Counter(
            "mail_attempts", "Attempts to send a message, by its status afterwards.", ("status",), registry=registry
        )
        self._expired = Counter("mail_expired", "Messages that expired before they were sent.", registry=registry)
        self._suppressed = Counter(
            "mail_suppressed",
            "Messages that were not sent, because the user has switched them off.",
            registry=registry,
        )
        self._trouble = Gauge(
            "mail_server_trouble", "1 while the mail server is unreachable or rejects this service.", registry=registry
        )

    def count_attempt(self, status: MessageStatus) -> None:
        """Count an attempt by the resulting status. EXPIRED and SUPPRESSED are no attempts and are counted apart."""
        match status:
            case MessageStatus.EXPIRED:
                self._expired.inc()
            case MessageStatus.SUPPRESSED:
                self._suppressed.inc()
            case _:
                self._attempts.labels(status).inc()

    def show_server(self, *, is_trouble: bool) -> None:
        """Record whether the mail server is unreachable or rejects this service."""
        self._trouble.set(is_trouble)

    def set_backlog(self, backlog: Backlog) -> None:
        """Set the numbers of waiting and dead messages, and the age of the oldest waiting one."""
        self._waiting.set(backlog.waiting)
        self._oldest.set(backlog.oldest_s)
        self._dead.set(backlog.dead)
