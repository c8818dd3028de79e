"""Outbox table in PostgreSQL: at most one claim leases a message at a time, and only that lease can settle it.

A lease belongs to a claim, not to a relay. If the answer to a claim is lost, no relay renews the lease, and the
messages can be claimed again when it expires. The column `lease_holder` contains the id of the claim.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

from mesh.data.deletion import delete_in_batches
from mesh.outbox.message import DeliveryStatus, OutboxMessage

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from uuid import UUID

    import asyncpg

    from mesh.data.database import Database
    from mesh.outbox.message import Verdict

# Relays renew their leases three times within this period.
LEASE = timedelta(seconds=30)
# Delivered messages can be inspected and replayed for this long. Payloads may contain personal data, so not longer.
RETENTION = timedelta(days=1)
# Maximum number of messages of one aggregate that a relay claims at once.
MAX_RUN_LENGTH = 20

# A message is the head of its lane if its aggregate has no earlier pending message. The relay that locks the head may
# also claim its followers, because no other relay can claim them while the head is pending. They may be leased already,
# if the head has committed late: the claim ends before the first of these. A relay never claims a message that it is
# delivering: if the clock is moved during a delivery, the lease expires before it is renewed.
CLAIM = """
    with heads as materialized (
        select message_id, destination, aggregate_key, sequence
        from outbox as m
        where status = 'pending' and due_time <= now() + $6::interval and destination <> all($3::text[])
            and (lease_holder is null or lease_holder <> all($7::uuid[]))
            and (aggregate_key is null or not exists (
                select from outbox as earlier
                where earlier.status = 'pending' and earlier.destination = m.destination
                    and earlier.aggregate_key = m.aggregate_key and earlier.sequence < m.sequence
            ))
        order by due_time limit $2 for update skip locked
    ), claimed as (
        select message_id from heads
        union all
        select follower.message_id from heads cross join lateral (
            select message_id, bool_or(is_leased) over (order by sequence) as is_behind_lease from (
                select message_id, sequence,
                    lease_holder is not null and (due_time > now() + $6::interval or lease_holder = any($7::uuid[]))
                        as is_leased
                from outbox as later
                where later.status = 'pending' and later.destination = heads.destination
                    and later.aggregate_key = heads.aggregate_key and later.sequence > heads.sequence
                order by later.sequence limit $4
            ) as next
        ) as follower
        where heads.aggregate_key is not null and not follower.is_behind_lease
    )
    update outbox as m set lease_holder = $1, due_time = now() + $6::interval + $5::interval
    from claimed where m.message_id = claimed.message_id and m.status = 'pending'
    returning m.message_id, destination, payload, event, aggregate_key, correlation_id, traceparent, attempts,
        m.sequence, extract(epoch from now() + $6::interval - deliver_time)::float8 as age_s, lease_holder as lease_id
"""
_SETTLE = """
    update outbox as m set
        status = line.status,
        attempts = line.attempts,
        last_error = coalesce(nullif(line.error, ''), m.last_error),
        due_time = case line.status when 'pending' then now() + $7::interval + line.pause_s * interval '1 second' end,
        settle_time = case when line.status <> 'pending' then now() + $7::interval end,
        lease_holder = null
    from unnest($1::uuid[], $2::uuid[], $3::text[], $4::int[], $5::text[], $6::float8[])
        as line (message_id, lease_id, status, attempts, error, pause_s)
    where m.message_id = line.message_id and m.lease_holder = line.lease_id
"""
_RENEW = """
    update outbox as m set due_time = now() + $4::interval + $3::interval
    from unnest($1::uuid[], $2::uuid[]) as line (message_id, lease_id)
    where m.message_id = line.message_id and m.lease_holder = line.lease_id
    returning m.message_id
"""
_DELETE_DELIVERED = """
    delete from outbox where message_id in (
        select message_id from outbox where status = 'delivered' and settle_time < now() - $1::interval
        order by settle_time limit $2 for update skip locked
    )
"""
_NEXT_DUE = (
    "select extract(epoch from min(due_time) - now() - $1::interval)::float8 from outbox where status = 'pending'"
)
_RECEIVE = """
    insert into outbox
        (message_id, destination, payload, event, aggregate_key, correlation_id, traceparent, deliver_time,
         due_time, create_time)
    select message_id, destination, payload, event, aggregate_key, correlation_id, traceparent,
        clock.now - age_s * interval '1 second', clock.now, clock.now
    from (select now() + $9::interval as now) as clock cross join
        unnest($1::uuid[], $2::text[], $3::bytea[], $4::text[], $5::text[], $6::text[], $7::text[], $8::float8[])
        as line (message_id, destination, payload, event, aggregate_key, correlation_id, traceparent, age_s)
    on conflict do nothing
"""
# Each status has an index of its own. One condition for both would read all delivered messages too.
_BACKLOG = """
    select destination, status, count(*) as depth,
        greatest(extract(epoch from now() + $1::interval - min(deliver_time)), 0)::float8 as oldest_s
    from (
        select destination, status, deliver_time from outbox where status = 'pending'
        union all
        select destination, status, deliver_time from outbox where status = 'dead'
    ) as backlog group by destination, status
"""


def claim_values(
    limit: int, offset: timedelta, *, held: Collection[UUID | None] = (), paused: Collection[str] = ()
) -> tuple[object, ...]:
    """Return the values for CLAIM, with a new lease."""
    return uuid4(), limit, list(paused), MAX_RUN_LENGTH - 1, LEASE, offset, list(held)


class OutboxStore:
    """Access to the outbox table of one database; `clock` is that of the database."""

    def __init__(self, database: Database) -> None:
        self.clock = database.clock
        self._database = database

    async def claim(
        self, limit: int, *, held: Collection[UUID | None] = (), paused: Collection[str] = ()
    ) -> list[list[OutboxMessage]]:
        """Lease due messages and return them in runs; deliver the messages of a run one after another.

        A run is one message, or the next messages of one aggregate. Returns at most `limit` runs, and no message to a
        destination in `paused` or under a lease in `held`.
        """
        async with self._database.connection() as connection:
            rows = await connection.fetch(CLAIM, *claim_values(limit, self.clock.offset, held=held, paused=paused))
        return _runs(map(_message, rows))

    async def settle(self, verdicts: Iterable[tuple[OutboxMessage, Verdict]]) -> None:
        """Record verdicts on messages; skip messages whose lease another claim has taken over."""
        pairs = list(verdicts)
        async with self._database.connection() as connection:
            await connection.execute(
                _SETTLE,
                [message.message_id for message, _ in pairs],
                [message.lease_id for message, _ in pairs],
                [verdict.status for _, verdict in pairs],
                [verdict.attempts for _, verdict in pairs],
                [verdict.error[:500] for _, verdict in pairs],
                [verdict.pause_s for _, verdict in pairs],
                self.clock.offset,
            )

    async def renew(self, messages: Collection[OutboxMessage]) -> set[UUID]:
        """Extend the leases of messages to LEASE from now; return the ids of those whose lease is not lost."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                _RENEW,
                [message.message_id for message in messages],
                [message.lease_id for message in messages],
                LEASE,
                self.clock.offset,
            )
        return {row["message_id"] for row in rows}

    async def next_due_s(self) -> float | None:
        """Return the time in seconds until the next message is due, negative if overdue; None if none is pending."""
        async with self._database.connection() as connection:
            due_s: float | None = await connection.fetchval(_NEXT_DUE, self.clock.offset)
        return due_s

    async def delete_delivered(self) -> int:
        """Delete messages that were delivered more than RETENTION ago, and return their number."""
        return await delete_in_batches(self._database, _DELETE_DELIVERED, RETENTION - self.clock.offset)

    async def receive(self, messages: Sequence[OutboxMessage]) -> None:
        """Store messages from other outboxes in their order; skip ids that are already stored."""
        async with self._database.transaction() as connection:
            await connection.execute(
                _RECEIVE,
                [each.message_id for each in messages],
                [each.destination for each in messages],
                [each.payload for each in messages],
                [each.event for each in messages],
                [each.aggregate_key for each in messages],
                [each.correlation_id for each in messages],
                [each.traceparent for each in messages],
                [each.age_s for each in messages],
                self.clock.offset,
            )

    async def backlog(self) -> list[tuple[str, DeliveryStatus, int, float]]:
        """Return tuples of destination, status, message count and age of the oldest in seconds.

        Covers pending messages and dead letters.
        """
        async with self._database.connection() as connection:
            rows = await connection.fetch(_BACKLOG, self.clock.offset)
        return [(row["destination"], DeliveryStatus(row["status"]), row["depth"], row["oldest_s"]) for row in rows]


def _runs(messages: Iterable[OutboxMessage]) -> list[list[OutboxMessage]]:
    """Group messages by lane, ordered by sequence."""
    in_order = sorted(messages, key=lambda each: each.sequence)
    alone = [[each] for each in in_order if each.lane is None]
    lanes: dict[tuple[str, str], list[OutboxMessage]] = {}
    for each in in_order:
        if each.lane is not None:
            lanes.setdefault(each.lane, []).append(each)
    return [*alone, *lanes.values()]


def _message(row: asyncpg.Record) -> OutboxMessage:
    return OutboxMessage(**dict(row))
