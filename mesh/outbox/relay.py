"""Relay: claims due messages from an outbox and delivers them concurrently, in order within an aggregate.

A relay survives every delivery error. If it dies, another relay delivers its messages after their lease expires. Any
number of relays may serve one outbox.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import structlog

from mesh.outbox.message import DeliveryStatus, Verdict
from mesh.outbox.retry import DestinationPauses, is_unavailable, judge
from mesh.outbox.store import LEASE
from mesh.periodic import repeating

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence
    from uuid import UUID

    from mesh.outbox.message import OutboxMessage
    from mesh.outbox.metrics import OutboxMetrics
    from mesh.outbox.store import OutboxStore
    from mesh.outbox.transport import Transport

# Maximum numbers of concurrent deliveries and of leased runs. A run is one message, or consecutive messages of one
# aggregate. There are more runs than deliveries, so that deliveries do not wait for the next claim.
CONCURRENCY = 32
MAX_RUNS = 128
# Longest delivery delay when a notification is lost.
POLL_S = 1.0
RENEW_INTERVAL_S = LEASE.total_seconds() / 3
DELETE_INTERVAL_S = 60.0
BACKLOG_INTERVAL_S = 5.0
PAUSE_AFTER_ERROR_S = 0.2
STOP_TIMEOUT_S = 5.0

_log = structlog.stdlib.get_logger("solo60.outbox")


@dataclass(slots=True)
class _Hold:
    """Message without a recorded verdict, and the time in seconds since when its lease runs."""

    message: OutboxMessage
    leased_at: float


class Relay:
    """Delivery loop for the messages of `store`, over `transport`.

    `rng` adds jitter to pauses. `clock` is monotonic, in seconds.
    """

    def __init__(
        self,
        store: OutboxStore,
        transport: Transport,
        metrics: OutboxMetrics,
        rng: random.Random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._transport = transport
        self._metrics = metrics
        self._rng = rng
        self._clock = clock
        self._holds: dict[UUID, _Hold] = {}
        self._pauses = DestinationPauses(rng)
        self._runs: set[asyncio.Task[None]] = set()
        self._delivery_slots = asyncio.Semaphore(CONCURRENCY)
        self._woken = asyncio.Event()
        self._verdicts: list[tuple[OutboxMessage, Verdict]] = []
        self._has_verdicts = asyncio.Event()
        # Settling and renewing update the same rows. The lock keeps one statement from blocking the other in the
        # database.
        self._writing = asyncio.Lock()
        self._is_stopping = False
        self.dead_letters: dict[str, int] = {}

    def wake(self) -> None:
        """Look for due messages now instead of at the next poll."""
        self._woken.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Deliver messages while the context is open; then wait at most 5 s for deliveries in progress."""
        clock = self._store.clock
        with clock.on_move(self.wake):
            async with (
                repeating("renewing leases", self._renew, RENEW_INTERVAL_S),
                repeating("deleting delivered messages", self._store.delete_delivered, DELETE_INTERVAL_S, clock.sleep),
                repeating("updating the backlog metrics", self._update_backlog, BACKLOG_INTERVAL_S),
                self._delivering(),
            ):
                yield self

    @asynccontextmanager
    async def _delivering(self) -> AsyncIterator[None]:
        claiming = asyncio.create_task(self._claim_forever())
        settling = asyncio.create_task(self._settle_forever())
        try:
            yield
        finally:
            self._is_stopping = True
            self.wake()
            await claiming
            await self._finish_runs()
            settling.cancel()
            await asyncio.wait([settling])
            await self._settle()

    async def _finish_runs(self) -> None:
        if self._runs:
            _, late = await asyncio.wait(self._runs, timeout=STOP_TIMEOUT_S)
            for run in late:
                run.cancel()
            if late:
                await asyncio.wait(late)

    async def _claim_forever(self) -> None:
        while not self._is_stopping:
            self._woken.clear()
            if len(self._runs) > MAX_RUNS // 2 or not await self._claim():
                await self._wait_for_work()

    async def _claim(self) -> bool:
        """Claim due messages and start to deliver them; return False if there were none or the claim failed."""
        claimed_at = self._clock()
        try:
            runs = await self._store.claim(
                MAX_RUNS - len(self._runs), held=self._lease_ids(), paused=self._pauses.paused(claimed_at)
            )
        except Exception as error:  # noqa: BLE001 - the next poll tries again
            _log.warning("cannot look for due messages", error=type(error).__name__)
            return False
        for run in runs:
            self._hold(run, claimed_at)
            task = asyncio.create_task(self._deliver_run(run))
            self._runs.add(task)
            task.add_done_callback(self._end_run)
        return bool(runs)

    def _lease_ids(self) -> set[UUID | None]:
        return {hold.message.lease_id for hold in self._holds.values()}

    def _hold(self, run: Iterable[OutboxMessage], claimed_at: float) -> None:
        self._holds.update({message.message_id: _Hold(message, claimed_at) for message in run})

    def _hold_of(self, message: OutboxMessage) -> _Hold | None:
        """Return the hold of a message; None if this relay has lost its lease and claimed the message again."""
        hold = self._holds.get(message.message_id)
        return hold if hold is not None and hold.message is message else None

    def _end_run(self, run: asyncio.Task[None]) -> None:
        self._runs.discard(run)
        if len(self._runs) == MAX_RUNS // 2:
            self.wake()

    async def _wait_for_work(self) -> None:
        waits_s = [POLL_S]
        pause_s = self._pauses.next_end_s(self._clock())
        if pause_s is not None:
            waits_s.append(pause_s)
        if not self._woken.is_set() and len(self._runs) <= MAX_RUNS // 2:
            with suppress(Exception):  # the next claim logs the error
                due_s = await self._store.next_due_s()
                if due_s is not None and due_s > 0:
                    waits_s.append(due_s)
        with suppress(TimeoutError):
            async with asyncio.timeout(min(waits_s)):
                await self._woken.wait()

    async def _deliver_run(self, run: Sequence[OutboxMessage]) -> None:
        """Deliver the messages of a run in order; after a failure, return the rest of the run to the outbox."""
        for position, message in enumerate(run):
            verdict = await self._deliver(message)
            if verdict is None or verdict.status is DeliveryStatus.PENDING:
                pause_s = verdict.pause_s if verdict else 0.0
                released = run[position + 1 :] if verdict else run[position:]
                self._add_verdicts([(message, verdict)] if verdict else [])
                self._add_verdicts(
                    [(each, Verdict(DeliveryStatus.PENDING, each.attempts, pause_s=pause_s)) for each in released]
                )
                return
            self._add_verdicts([(message, verdict)])

    async def _deliver(self, message: OutboxMessage) -> Verdict | None:
        """Attempt a delivery as soon as there is a slot; return None if the message may not be delivered then."""
        try:
            await self._delivery_slots.acquire()
        except asyncio.CancelledError:
            return None  # this relay stops; another one delivers it
        try:
            return await self._attempt(message) if self._may_deliver(message) else None
        finally:
            self._delivery_slots.release()

    def _may_deliver(self, message: OutboxMessage) -> bool:
        now, hold = self._clock(), self._hold_of(message)
        is_leased = hold is not None and now < hold.leased_at + LEASE.total_seconds()
        return is_leased and not self._is_stopping and not self._pauses.is_paused(message.destination, now)

    async def _attempt(self, message: OutboxMessage) -> Verdict:
        began = self._clock()
        try:
            await self._transport.deliver(message)
        except asyncio.CancelledError:
            return Verdict(DeliveryStatus.PENDING, message.attempts)  # this relay stops; another one delivers it
        except Exception as error:  # noqa: BLE001 - `judge` handles every error
            verdict = judge(message, error, self._rng)
            if is_unavailable(error):
                self._pauses.record_failure(message.destination, error, self._clock())
            else:
                self._pauses.record_response(message.destination)
                self._log_failure(message, verdict)
        else:
            verdict = Verdict(DeliveryStatus.DELIVERED, message.attempts)
            self._pauses.record_response(message.destination)
        self._metrics.count_attempt(message.destination, verdict.status, message.age_s + self._clock() - began)
        return verdict

    def _log_failure(self, message: OutboxMessage, verdict: Verdict) -> None:
        log = _log.error if verdict.status is DeliveryStatus.DEAD else _log.warning
        log(
            "message is now a dead letter" if verdict.status is DeliveryStatus.DEAD else "delivery failed, will retry",
            message_id=str(message.message_id),
            destination=message.destination,
            attempts=verdict.attempts,
            error=verdict.error,
            correlation_id=message.correlation_id,
        )

    def _add_verdicts(self, verdicts: list[tuple[OutboxMessage, Verdict]]) -> None:
        if verdicts:
            self._verdicts += verdicts
            self._has_verdicts.set()

    async def _settle_forever(self) -> None:
        while True:
            await self._has_verdicts.wait()
            self._has_verdicts.clear()
            if not await self._settle():
                await asyncio.sleep(PAUSE_AFTER_ERROR_S)

    async def _settle(self) -> bool:
        """Record all new verdicts in one statement; restore them if the statement fails."""
        verdicts, self._verdicts = self._verdicts, []
        if not verdicts:
            return True
        try:
            async with self._writing:
                await self._store.settle(verdicts)
        except asyncio.CancelledError:
            self._verdicts = verdicts + self._verdicts
            raise
        except Exception as error:  # noqa: BLE001 - retried until it succeeds or the leases expire
            _log.warning("cannot record verdicts, retrying", count=len(verdicts), error=type(error).__name__)
            self._verdicts = verdicts + self._verdicts
            self._has_verdicts.set()
            return False
        for message, _ in verdicts:
            if self._hold_of(message):
                del self._holds[message.message_id]
        self.wake()  # the next message of an aggregate may be due now
        return True

    async def _renew(self) -> None:
        began = self._clock()
        async with self._writing:
            holds = list(self._holds.values())
            renewed = await self._store.renew([hold.message for hold in holds]) if holds else ()
        for hold in holds:
            if hold.message.message_id in renewed:
                hold.leased_at = began

    async def _update_backlog(self) -> None:
        backlog = await self._store.backlog()
        self._metrics.set_backlog(backlog)
        self.dead_letters = {
            destination: depth for destination, status, depth, _ in backlog if status is DeliveryStatus.DEAD
        }
