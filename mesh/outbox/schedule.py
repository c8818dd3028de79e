"""Schedule of a service: its due work, and the time of its next work, in the outbox and in other tables."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from mesh.outbox.store import LEASE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from datetime import datetime

    from mesh.data.database import Database

    Timers = Mapping[str, Callable[[], Awaitable[datetime | None]]]

# Longer than the longest pause after a failed attempt, so that a range of `due_time` contains all failed messages.
LONGEST_PAUSE = timedelta(hours=1)

# Each condition has a limit on `due_time`, so that the index is used: a message that is being delivered is due again
# when its lease expires.
_LOOK = """
    select
        now() + $1::interval as now,
        (
            select count(*) from outbox
            where status = 'pending' and due_time <= now() + $1::interval + $2::interval
                and (due_time <= now() + $1::interval or lease_holder is not null) and not ($4 and last_error <> '')
        ) as due_count,
        (
            select count(*) from outbox
            where status = 'pending' and due_time <= now() + $1::interval + $3::interval and last_error <> ''
        ) as failed_count,
        (
            select min(due_time) from outbox
            where status = 'pending' and due_time > now() + $1::interval and not ($4 and last_error <> '')
        ) as next_due_time,
        (select case when is_called then last_value else 0 end from outbox_sequence_seq) as last_sequence
"""
_DELIVERED = """
    select destination, count(*) as count from outbox where status = 'delivered' and settle_time >= $1
    group by destination order by destination
"""


@dataclass(frozen=True, slots=True)
class DueWork:
    """Due work of a service at `now`, and its next work.

    `next_due_timer` is empty if the next work is a message. `delivered` counts messages by method.
    """

    now: datetime
    due_count: int
    failed_count: int
    due_timers: list[str]
    next_due_time: datetime | None
    next_due_timer: str
    last_sequence: int
    delivered: dict[str, int]


class Schedule:
    """Schedule of one database and the `timers` of its service; each timer returns the time of its next work."""

    def __init__(self, database: Database, timers: Timers) -> None:
        self._database = database
        self._timers = timers

    async def look(self, *, without_failed: bool, delivered_since: datetime | None) -> DueWork:
        """Return the work that is due now; `without_failed` ignores messages whose last attempt failed.

        Messages delivered since `delivered_since` are counted. Raises DatabaseUnavailable.
        """
        offset = self._database.clock.offset
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_LOOK, offset, LEASE, LONGEST_PAUSE, without_failed)
            delivered = await connection.fetch(_DELIVERED, delivered_since) if delivered_since else []
        assert row is not None  # noqa: S101 - always one row
        now, due_times = row["now"], {name: await next_time() for name, next_time in self._timers.items()}
        next_times = {"": row["next_due_time"], **due_times}
        waiting = [(due_time, name) for name, due_time in next_times.items() if due_time is not None and due_time > now]
        next_due_time, next_due_timer = min(waiting, default=(None, ""))
        return DueWork(
            now=now,
            due_count=row["due_count"],
            failed_count=row["failed_count"],
            due_timers=[name for name, due_time in due_times.items() if due_time is not None and due_time <= now],
            next_due_time=next_due_time,
            next_due_timer=next_due_timer,
            last_sequence=row["last_sequence"],
            delivered={each["destination"]: each["count"] for each in delivered},
        )
