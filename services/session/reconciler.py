"""Reconciler: what is left to be done about a session is tried at once, and again until it is done, whatever breaks.

Everything left is in the database before it is tried, and everything tried may be tried twice. So it does not matter
where a process dies, nor how many of them do this at the same time.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from contracts.errors import InvalidRequest, ServiceError
from interceptors.context import detached_work
from solo60.payment.v1.payment_pb2 import RefundSessionRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
    from datetime import datetime

    from services.session.domain import Mail, Session
    from services.session.due_work import DueWork
    from services.session.mails import Mailer
    from solo60.payment.v1.payment_pb2_grpc import PaymentServiceAsyncStub

INTERVAL_S = 1.0
BATCH_SIZE = 50
# Whoever makes something due tries it at once; only then is it the reconciler's.
FIRST_PAUSE = timedelta(seconds=2)
LONGEST_PAUSE = timedelta(minutes=1)
# More than the deadlines of all calls about one session together, and the budget of these calls.
ATTEMPT_TIMEOUT_S = 30.0

_log = structlog.stdlib.get_logger("solo60.session.reconciler")


class Reconciler:
    """Refunds and mails what is due, and releases slots whose booking was never finished."""

    def __init__(
        self, due_work: DueWork, payments: PaymentServiceAsyncStub, mailer: Mailer, now: Callable[[], datetime]
    ) -> None:
        self._due_work = due_work
        self._payments = payments
        self._mailer = mailer
        self._now = now
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Look for what is due every second for the time of the context; then leave it to the next process."""
        self._start(self._run())
        try:
            yield
        finally:
            tasks = set(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def settle_now(self, session: Session) -> None:
        """Give the price back if it is due, and send what mails are due in the background; what fails stays due."""
        if session.refund_due:
            await _attempt("refund", session, self._refund(session))
        if session.mails_due:
            self.start(session, self._send_mails(session))

    def settle_soon(self, session: Session) -> None:
        """Do in the background what is left to be done about a session; what fails stays due."""
        self.start(session, self._settle(session))

    def start(self, session: Session, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Do `work` for a session in the background: it belongs to the same request, but its call may have ended."""
        return self._start(_detached(session, work))

    def _start(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _run(self) -> None:
        while True:
            try:
                await self._look_once()
            except Exception as error:  # noqa: BLE001 - an outage must not end the looking
                _log.warning("cannot look for what is due", error=type(error).__name__)
            await asyncio.sleep(INTERVAL_S)

    async def _look_once(self) -> None:
        now = self._now()
        await self._due_work.release_expired(now)
        await self._due_work.complete_past(now)
        due = await self._due_work.claim(now, BATCH_SIZE, pause=FIRST_PAUSE, longest_pause=LONGEST_PAUSE)
        await asyncio.gather(*[_detached(session, self._settle(session)) for session in due])

    async def _settle(self, session: Session) -> None:
        if session.refund_due:
            await _attempt("refund", session, self._refund(session))
        await self._send_mails(session)

    async def _send_mails(self, session: Session) -> None:
        for mail in session.mails_due:
            await _attempt(mail, session, self._mail(session, mail))

    async def _refund(self, session: Session) -> None:
        await self._payments.RefundSession(
            RefundSessionRequest(session_id=str(session.session_id), reason="session cancelled")
        )
        await self._due_work.note_refunded(session.session_id)

    async def _mail(self, session: Session, mail: Mail) -> None:
        try:
            await self._mailer.send(session, mail)
        except InvalidRequest:
            # The address is one that no mail can go to: no repetition mends that.
            _log.exception("mail given up", mail=mail, session_id=str(session.session_id))
        await self._due_work.note_mailed(session.session_id, mail)


async def _detached(session: Session, work: Coroutine[None, None, None]) -> None:
    with detached_work(session.correlation_id, ATTEMPT_TIMEOUT_S):
        await _attempt("work", session, work)


async def _attempt(what: str, session: Session, work: Awaitable[None]) -> None:
    try:
        async with asyncio.timeout(ATTEMPT_TIMEOUT_S):
            await work
    except Exception as error:  # noqa: BLE001 - whatever failed stays due in the database, and is tried again
        is_refusal = isinstance(error, ServiceError)
        _log.warning(
            "left due",
            what=what,
            session_id=str(session.session_id),
            # Any other exception's text may hold what is personal; its traceback is written without that.
            error=repr(error) if is_refusal else type(error).__name__,
            exc_info=None if is_refusal else error,
        )
