"""Backlog of an outbox: its pending messages by destination, and its dead letters by destination and error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from mesh.data.database import Database

# The limit of the contract for one answer.
MAX_DEAD_GROUPS = 100

_NOW = "select now() + $1::interval"
# The time of the first attempt, not `due_time`: a message that waits for another attempt is late all the same.
_PENDING = """
    select destination, count(*) as count, count(*) filter (where deliver_time <= $1) as due_count,
        min(deliver_time) filter (where deliver_time <= $1) as oldest_due_time
    from outbox where status = 'pending' group by destination order by destination
"""
_DEAD = """
    select destination, last_error, count(*) as count, max(settle_time) as latest_settle_time
    from outbox where status = 'dead' group by destination, last_error
    order by count desc, destination, last_error limit $1
"""


@dataclass(frozen=True, slots=True)
class PendingMessages:
    """Pending messages to one method. `oldest_due_time` is None if none of them is due."""

    destination: str
    count: int
    due_count: int
    oldest_due_time: datetime | None


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """Dead letters to one method with the same error."""

    destination: str
    last_error: str
    count: int
    latest_settle_time: datetime


@dataclass(frozen=True, slots=True)
class Backlog:
    """Backlog at `now`, with the largest groups of dead letters first."""

    now: datetime
    pending: list[PendingMessages]
    dead_letters: list[DeadLetters]


async def read_backlog(database: Database) -> Backlog:
    """Return the backlog of a database's outbox, with at most MAX_DEAD_GROUPS groups of dead letters."""
    async with database.connection() as connection:
        now: datetime = await connection.fetchval(_NOW, database.clock.offset)
        pending = await connection.fetch(_PENDING, now)
        dead = await connection.fetch(_DEAD, MAX_DEAD_GROUPS)
    return Backlog(now, [PendingMessages(**row) for row in pending], [DeadLetters(**row) for row in dead])
