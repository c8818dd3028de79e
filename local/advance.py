"""Advance of a mesh's clock in steps, so that the services experience each due time in its order.

Each step moves the clock to the next time at which any service has work, and waits until that work is done. So a
reminder is sent before the renewal that it announces, and no step jumps over work.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from opentelemetry import trace
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import NonRecordingSpan, SpanContext

from contracts.errors import DeadlineExceeded, ServiceError
from mesh.outbox.retry import is_unavailable
from solo60.mesh.v1.outbox_pb2 import GetScheduleRequest, GetScheduleResponse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from mesh.clock import MovableClock
    from solo60.mesh.v1.outbox_pb2_grpc import OutboxServiceAsyncStub

# Pauses between looks at the same work: the first one, and the longest.
FIRST_POLL_S = 0.01
MAX_POLL_S = 0.2
# Real time that work may take without any progress. Then the advance continues and reports the work as open.
PATIENCE_S = 10.0
# Longest real time for the work of one step, because users may cause new work all the time.
LONGEST_STEP_S = 120.0
MESSAGES = "messages"


@dataclass(frozen=True, slots=True)
class Step:
    """Work of one time: delivered messages by method, and other timed work by name."""

    time: datetime
    delivered: dict[str, int]
    timers: tuple[str, ...]


@dataclass(slots=True)
class OpenWork:
    """Work that the advance did not wait for: messages that still fail, work without progress, and silent services.

    `failed` counts messages by service. `stuck` are pairs of a service and its work.
    """

    failed: dict[str, int] = field(default_factory=dict)
    stuck: set[tuple[str, str]] = field(default_factory=set)
    silent: set[str] = field(default_factory=set)

    def sentences(self) -> list[str]:
        """Return one sentence for each kind of open work of a service."""
        return [
            *(f"{name} did not answer, so its work was not waited for." for name in sorted(self.silent)),
            *(f"{name} did not finish its {work} in time." for name, work in sorted(self.stuck)),
            *(
                f"{name}: {count} message{'' if count == 1 else 's'} could not be delivered yet (see: solo60 outbox "
                f"list {name} --status pending)."
                for name, count in sorted(self.failed.items())
            ),
        ]


class Advance:
    """One advance of `clock`, which the services behind `outboxes` follow.

    `on_step` is called after each step with work. `open` is the work that was not waited for. Each stub needs a circuit
    breaker of its own, because a breaker covers a method at all services.
    """

    def __init__(
        self, clock: MovableClock, outboxes: Mapping[str, OutboxServiceAsyncStub], on_step: Callable[[Step], None]
    ) -> None:
        self._clock = clock
        self._outboxes = dict(outboxes)
        self._on_step = on_step
        self._failing_s = 0.0
        self.open = OpenWork()

    async def run(self, by: timedelta) -> None:
        """Move the clock forward by a duration, in steps to each time at which work is due.

        Raises ServiceError if a service rejects the calls.
        """
        target = self._clock.now() + by
        with untraced():
            schedules = await self._finish_due_work(since=None)
            while self._clock.now() < target:
                step_time, timers = _next_work(schedules, target)
                self._clock.advance(max(step_time - self._clock.now(), timedelta()))
                schedules = await self._finish_due_work(since=step_time)
                self._report(step_time, schedules, timers)
        self.open.failed = {name: each.failed_count for name, each in schedules.items() if each.failed_count}

    async def _finish_due_work(self, since: datetime | None) -> dict[str, GetScheduleResponse]:
        """Wait until no work is due; return the last schedules, with the messages delivered since `since`.

        A message may move from one service to the next between two looks. So nothing is due only if two looks in a row
        find nothing, and no service has written a message between them.
        """
        began = changed_at = time.monotonic()
        last_state, pause_s = None, FIRST_POLL_S
        while True:
            looked_at = time.monotonic()
            schedules = await self._look(since)
            due = self._due_work(schedules)
            if looked_at - changed_at > PATIENCE_S or looked_at - began > LONGEST_STEP_S:
                self.open.stuck |= set(due)
            # Work that is not waited for may write messages at any time.
            sequences = [each.last_sequence for each in schedules.values() if not self.open.stuck]
            state = (due, sequences)
            if state != last_state:
                last_state, changed_at, pause_s = state, looked_at, FIRST_POLL_S
            elif not due:
                return schedules
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, MAX_POLL_S)
            has_failed = any(each.failed_count for each in schedules.values())
            self._failing_s = self._failing_s + time.monotonic() - looked_at if has_failed else 0.0

    async def _look(self, since: datetime | None) -> dict[str, GetScheduleResponse]:
        """Return the schedule of each service that answers."""
        request = GetScheduleRequest(without_failed=self._failing_s > PATIENCE_S)
        if since is not None:
            request.delivered_since.FromDatetime(since)
        give_up_at = time.monotonic() + PATIENCE_S
        answers = await asyncio.gather(*(self._ask(name, request, give_up_at) for name in self._outboxes))
        found = dict(zip(self._outboxes, answers, strict=True))
        for name, answer in found.items():
            if answer is None:
                self.open.silent.add(name)
                del self._outboxes[name]
        return {name: answer for name, answer in found.items() if answer is not None}

    async def _ask(self, name: str, request: GetScheduleRequest, give_up_at: float) -> GetScheduleResponse | None:
        """Return the schedule of a service, or None if it still does not answer at `give_up_at`."""
        while True:
            try:
                return await self._outboxes[name].GetSchedule(request)
            except ServiceError as error:
                # The deadline also passes if the service's process does not run on, for example in a debugger.
                if not is_unavailable(error) and not isinstance(error, DeadlineExceeded):
                    raise
                if time.monotonic() > give_up_at:
                    return None
            await asyncio.sleep(MAX_POLL_S)

    def _due_work(self, schedules: Mapping[str, GetScheduleResponse]) -> dict[tuple[str, str], int]:
        """Return the work to wait for: pairs of a service and its work, with the number of messages."""
        due: dict[tuple[str, str], int] = {}
        for name, schedule in schedules.items():
            if schedule.due_count:
                due[name, MESSAGES] = schedule.due_count
            due |= {(name, timer): 1 for timer in schedule.due_timers}
        return {work: count for work, count in due.items() if work not in self.open.stuck}

    def _report(self, at: datetime, schedules: Mapping[str, GetScheduleResponse], timers: tuple[str, ...]) -> None:
        delivered: Counter[str] = Counter()
        for schedule in schedules.values():
            delivered.update({each.destination: each.count for each in schedule.delivered})
        if delivered or timers:
            self._on_step(Step(at, dict(delivered), timers))


def untraced() -> AbstractContextManager[trace.Span]:
    """Return a context whose calls are not traced, because many looks would fill the store of spans."""
    ids = RandomIdGenerator()
    not_sampled = SpanContext(ids.generate_trace_id(), ids.generate_span_id(), is_remote=False)
    return trace.use_span(NonRecordingSpan(not_sampled))


def _next_work(schedules: Mapping[str, GetScheduleResponse], target: datetime) -> tuple[datetime, tuple[str, ...]]:
    """Return the time of the next work, at most `target`, and the timers of that time."""
    times = {
        name: each.next_due_time.ToDatetime(UTC) for name, each in schedules.items() if each.HasField("next_due_time")
    }
    step_time = min([target, *times.values()])
    timers = {schedules[name].next_due_timer for name, due_time in times.items() if due_time == step_time} - {""}
    return step_time, tuple(sorted(timers))
