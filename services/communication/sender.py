"""The sender: takes due messages from the store and hands them to the mail server, in the background.

It dies of nothing: what goes wrong in an attempt is put right by the next one, after a pause or when the lease is over.
When a sender is killed between the mail server's answer and its own note of it, or the answer is lost, nobody can know
whether the mail was accepted (RFC 1047). It is then sent again, under the same Message-ID, or given up: as its template
says.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING

import structlog

from interceptors.context import detached_work
from services.communication.domain import LEASE, Outcome, judge
from services.communication.sending_span import mark, sending_span

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
# How late an attempt may be for which nobody wakes the sender: a second one, or the first of another process.
POLL_S = 0.5
STOP_PATIENCE_S = 5.0
# After that the message may be another sender's.
ATTEMPT_BUDGET_S = LEASE.total_seconds()

# While the mail server cannot be reached or turns us away.
MAIL_SERVER_TROUBLE = "the mail server cannot be reached or turns us away (solo60 messages list says why)"

_log = structlog.stdlib.get_logger("solo60.communication")


class Sender:
    """Sends the messages in `store` to `server`, as `envelope_sender`; `now` is in UTC and `rng` spreads the pauses.

    While the mail server cannot be reached or turns us away, `troubles` holds a sentence that says so.
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
        self._watchers: dict[UUID, set[asyncio.Event]] = {}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Send for the time of the context; at its end, attempts under way have 5 s to finish."""
        sending = asyncio.create_task(self._run())
        try:
            yield
        finally:
            self._is_stopping = True
            self.wake()
            with suppress(TimeoutError):
                async with asyncio.timeout(STOP_PATIENCE_S):
                    await sending

    def wake(self) -> None:
        """Look for due messages now: one has just been stored."""
        self._woken.set()

    @contextmanager
    def watching(self, message_id: UUID) -> Iterator[asyncio.Event]:
        """Lend an event that is set after each attempt that this sender makes to send a message."""
        attempted = asyncio.Event()
        watchers = self._watchers.setdefault(message_id, set())
        watchers.add(attempted)
        try:
            yield attempted
        finally:
            watchers.discard(attempted)
            if not watchers:
                self._watchers.pop(message_id, None)

    async def send_next(self) -> bool:
        """Make one attempt to send the message that has been due the longest; False when none is due."""
        attempt = await self._store.claim(self._now())
        if attempt is None:
            return False
        await self._make(attempt)
        return True

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
                    await self._rest()
                else:
                    attempts.create_task(self._make(attempt)).add_done_callback(lambda _: free.release())

    async def _claim(self) -> Attempt | None:
        try:
            return await self._store.claim(self._now())
        except Exception as error:  # noqa: BLE001 - the database may be back at the next look
            _log.warning("cannot look for due messages", error=type(error).__name__)
            return None

    async def _rest(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(POLL_S):
                await self._woken.wait()

    async def _make(self, attempt: Attempt) -> None:
        facts = {
            "message_id": str(attempt.message_id),
            "template_key": attempt.template_key,
            "attempt": attempt.number,
            "correlation_id": attempt.correlation_id,
        }
        try:
            is_only_judged = attempt.is_lost or attempt.is_expired
            outcome = Outcome.of_lost(attempt) if is_only_judged else await self._hand_over(attempt)
            verdict = judge(attempt, outcome, self._now(), self._rng)
            self._metrics.attempted(verdict.status)
            is_recorded = await self._store.settle(attempt, verdict, self._now())
            _log.info("mail", status=verdict.status, error=verdict.error, is_recorded=is_recorded, **facts)
        except Exception as error:  # noqa: BLE001 - the message is taken up again when its lease is over
            _log.warning("an attempt broke off", error=type(error).__name__, **facts)
        for watcher in self._watchers.get(attempt.message_id, ()):
            watcher.set()

    async def _hand_over(self, attempt: Attempt) -> Outcome:
        with detached_work(attempt.correlation_id, ATTEMPT_BUDGET_S), sending_span(attempt, self._server) as span:
            outcome = await self._server.hand_over(
                attempt.mail, sender=self._envelope_sender, recipients=attempt.recipients
            )
            mark(span, outcome)
        self._note_server(is_trouble=outcome.is_server_trouble, reason=outcome.error)
        return outcome

    def _note_server(self, *, is_trouble: bool, reason: str) -> None:
        if is_trouble and MAIL_SERVER_TROUBLE not in self._troubles:
            _log.error("the mail server takes no mail of ours", reason=reason)
            self._troubles.add(MAIL_SERVER_TROUBLE)
        elif not is_trouble and MAIL_SERVER_TROUBLE in self._troubles:
            _log.info("the mail server takes our mail again")
            self._troubles.discard(MAIL_SERVER_TROUBLE)
        self._metrics.show_server(is_trouble=is_trouble)
