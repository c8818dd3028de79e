"""Background sender: leases due messages from the store and sends them through the mail server.

The sender survives every error. A failed attempt is repeated after a pause, an interrupted one after its lease. If the
mail server's answer is lost, or the sender is killed before it records the answer, the outcome is unknown (RFC 1047).
The template decides whether the mail is then sent again with the same Message-ID, or given up.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

import structlog

from interceptors.context import detached_work
from services.communication.domain import LEASE, SmtpOutcome, state_after
from services.communication.sending_span import record_outcome, sending_span

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator, Callable, Iterator
    from datetime import datetime
    from uuid import UUID

    from services.communication.domain import Attempt
    from services.communication.mail_server import MailServer
    from services.communication.metrics import MailMetrics
    from services.communication.store import MessageStore

CONCURRENCY = 4
# Longest delay of an attempt without a wake-up: a retry, or a message stored by another process.
POLL_S = 0.5
STOP_TIMEOUT_S = 5.0
# Another sender may claim the message when this lease expires.
LEASE_S = LEASE.total_seconds()

# Health entry while the mail server is unreachable or rejects this service.
MAIL_SERVER_TROUBLE = "the mail server is unreachable or rejects this service (see: solo60 messages list)"

_log = structlog.stdlib.get_logger("solo60.communication")


class Sender:
    """Background task that sends the messages in `store` through `server`, with the SMTP sender `envelope_sender`.

    `now` returns the current time in UTC, and `rng` draws the pauses between attempts. `troubles` contains
    MAIL_SERVER_TROUBLE while the mail server is unreachable or rejects this service.
    """

    def __init__(
        self,
        store: MessageStore,
        server: MailServer,
        *,
        envelope_sender: str,
        metrics: MailMetrics,
        troubles: set[str],
        now: Callable[[], datetime],
        rng: random.Random,
    ) -> None:
        self._store = store
        self._server = server
        self._envelope_sender = envelope_sender
        self._metrics = metrics
        self._troubles = troubles
        self._now = now
        self._rng = rng
        self._woken = asyncio.Event()
        self._is_stopping = False
        self._in_progress: set[UUID] = set()
        self._watchers: dict[UUID, set[asyncio.Event]] = {}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Send messages until the context ends, then give running attempts 5 s to finish."""
        sending = asyncio.create_task(self._run())
        try:
            yield
        finally:
            self._is_stopping = True
            self.wake()
            with suppress(TimeoutError):
                async with asyncio.timeout(STOP_TIMEOUT_S):
                    await sending

    def wake(self) -> None:
        """Make the sender check for due messages now instead of at the next poll."""
        self._woken.set()

    @contextmanager
    def watching(self, message_id: UUID) -> Iterator[asyncio.Event]:
        """Yield an event that is set after each attempt of this sender to send the message."""
        attempted = asyncio.Event()
        watchers = self._watchers.setdefault(message_id, set())
        watchers.add(attempted)
        try:
            yield attempted
        finally:
            watchers.discard(attempted)
            if not watchers:
                self._watchers.pop(message_id, None)

    async def _run(self) -> None:
        free = asyncio.Semaphore(CONCURRENCY)
        async with asyncio.TaskGroup() as attempts:
            while True:
                await free.acquire()
                self._woken.clear()
                if self._is_stopping:
                    return
                attempt = await self._claim()
                if attempt is None:
                    free.release()
                    await self._wait_for_work()
                else:
                    self._in_progress.add(attempt.message_id)
                    task = attempts.create_task(self._run_attempt(attempt))
                    task.add_done_callback(partial(self._end_attempt, attempt.message_id, free))

    def _end_attempt(self, message_id: UUID, free: asyncio.Semaphore, _task: asyncio.Task[None]) -> None:
        self._in_progress.discard(message_id)
        free.release()

    async def _claim(self) -> Attempt | None:
        try:
            return await self._store.claim(self._now(), in_progress=self._in_progress)
        except Exception as error:  # noqa: BLE001 - the next poll tries again
            _log.warning("cannot look for due messages", error=type(error).__name__)
            return None

    async def _wait_for_work(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(POLL_S):
                await self._woken.wait()

    async def _run_attempt(self, attempt: Attempt) -> None:
        facts = {
            "message_id": str(attempt.message_id),
            "template_key": attempt.template_key,
            "attempt": attempt.number,
            "correlation_id": attempt.correlation_id,
        }
        try:
            outcome = SmtpOutcome.of_lost(attempt) if attempt.is_only_judged else await self._send(attempt)
            state = state_after(attempt, outcome, self._now(), self._rng)
            self._metrics.count_attempt(state.status)
            is_recorded = await self._store.settle(attempt, state, self._now())
            _log.info("mail", status=state.status, error=state.error, is_recorded=is_recorded, **facts)
        except Exception as error:  # noqa: BLE001 - the message is due again after its lease
            _log.warning("attempt to send mail failed", error=type(error).__name__, **facts)
        for watcher in self._watchers.get(attempt.message_id, ()):
            watcher.set()

    async def _send(self, attempt: Attempt) -> SmtpOutcome:
        with detached_work(attempt.correlation_id, LEASE_S), sending_span(attempt, self._server) as span:
            outcome = await self._server.send(attempt.mail, sender=self._envelope_sender, recipients=attempt.recipients)
            record_outcome(span, outcome)
        self._record_server_state(is_trouble=outcome.is_server_trouble, reason=outcome.error)
        return outcome

    def _record_server_state(self, *, is_trouble: bool, reason: str) -> None:
        if is_trouble and MAIL_SERVER_TROUBLE not in self._troubles:
            _log.error("the mail server is unreachable or rejects this service", reason=reason)
            self._troubles.add(MAIL_SERVER_TROUBLE)
        elif not is_trouble and MAIL_SERVER_TROUBLE in self._troubles:
            _log.info("the mail server accepts mail again")
            self._troubles.discard(MAIL_SERVER_TROUBLE)
        self._metrics.show_server(is_trouble=is_trouble)
