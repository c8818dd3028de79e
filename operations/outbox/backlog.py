"""Backlog and schedule of every service's outbox."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING

from contracts.errors import ServiceError
from contracts.services import SERVICE_NAMES
from operations.calls.requests import message_as_dict
from solo60.mesh.v1 import outbox_pb2 as pb
from solo60.mesh.v1.outbox_pb2_grpc import OutboxServiceStub

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from mesh.serving.channel import Channels


@dataclass(frozen=True, slots=True)
class OutboxState:
    """Backlog and schedule of one outbox. All times are business times, by the clock of the service."""

    backlog: pb.GetBacklogResponse
    schedule: pb.GetScheduleResponse

    @property
    def pending_count(self) -> int:
        """Number of pending messages, including messages for a later time."""
        return sum(each.count for each in self.backlog.pending)

    @property
    def due_count(self) -> int:
        """Number of pending messages whose time has come, including those that wait for another attempt."""
        return sum(each.due_count for each in self.backlog.pending)

    @property
    def dead_count(self) -> int:
        """Number of dead letters."""
        return sum(each.count for each in self.backlog.dead_letters)

    @property
    def oldest_due_age_s(self) -> float | None:
        """Time in seconds since the oldest pending message was first due; None if no message is due."""
        times = [each.oldest_due_time for each in self.backlog.pending if each.HasField("oldest_due_time")]
        if not times:
            return None
        oldest_ns = min(each.ToNanoseconds() for each in times)
        return max(self.backlog.now.ToNanoseconds() - oldest_ns, 0) / 1e9

    @property
    def next_due_time(self) -> datetime | None:
        """Time of the next work that is not due yet; None if there is none."""
        return self.schedule.next_due_time.ToDatetime(UTC) if self.schedule.HasField("next_due_time") else None

    @property
    def next_work(self) -> str:
        """Name of the next work that is not due yet, or "" if there is none."""
        return (self.schedule.next_due_timer or "message") if self.schedule.HasField("next_due_time") else ""


async def states_of_all(
    channels: Channels, services: Sequence[str] = SERVICE_NAMES
) -> dict[str, OutboxState | ServiceError]:
    """Return the state of the outbox of each of these services, or the error if a call failed."""

    async def ask(name: str) -> OutboxState | ServiceError:
        stub = channels.stub(OutboxServiceStub, at=name)
        try:
            backlog, schedule = await asyncio.gather(
                stub.GetBacklog(pb.GetBacklogRequest()), stub.GetSchedule(pb.GetScheduleRequest())
            )
        except ServiceError as error:
            return error
        return OutboxState(backlog, schedule)

    answers = await asyncio.gather(*map(ask, services))
    return dict(zip(services, answers, strict=True))


def state_as_json(service: str, state: OutboxState) -> dict[str, object]:
    """Return the state of one outbox as a JSON object."""
    backlog, schedule = message_as_dict(state.backlog), message_as_dict(state.schedule)
    return {
        "service": service,
        "now": backlog["now"],
        "pending_count": state.pending_count,
        "due_count": state.due_count,
        "oldest_due_age_s": state.oldest_due_age_s,
        "dead_count": state.dead_count,
        "pending": backlog["pending"],
        "dead_letters": backlog["dead_letters"],
        "due_timers": schedule["due_timers"],
        "next_due_time": schedule.get("next_due_time"),
        "next_work": state.next_work,
    }
