from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from mesh.outbox.message import DeliveryStatus, Verdict
from mesh.outbox.schedule import _LOOK, LONGEST_PAUSE, DueWork, Schedule
from mesh.outbox.store import LEASE
from solo60.example.v1.echo_pb2 import KeepRequest

if TYPE_CHECKING:
    from tests.mesh.outbox.outbox_fixture import OutboxFixture

DAY = timedelta(days=1)
KEEP = "solo60.example.v1.EchoService/Keep"
FILL = """
    insert into outbox (message_id, destination, payload, correlation_id, traceparent, due_time)
    select gen_random_uuid(), $2, '', '', '', now() + interval '30 days' from generate_series(1, $1)
"""


async def call_on(outbox: OutboxFixture, *days: int) -> None:
    """Write a call for each of these days from now."""
    async with outbox.transaction() as tx:
        for day in days:
            at = outbox.clock.now() + timedelta(days=day)
            await tx.call_later(outbox.echo.stub().Keep, KeepRequest(text="later"), at=at)


async def look(
    outbox: OutboxFixture, *, without_failed: bool = False, since: datetime | None = None, **timers: datetime | None
) -> DueWork:
    """Return the schedule of an outbox and of timers with these times."""

    def timer_of(time: datetime | None) -> object:
        async def next_time() -> datetime | None:
            return time

        return next_time

    schedule = Schedule(outbox.database, {name: timer_of(time) for name, time in timers.items()})  # type: ignore[misc]
    return await schedule.look(without_failed=without_failed, delivered_since=since)


async def test_an_empty_outbox_has_no_work(outbox: OutboxFixture) -> None:
    """Without messages and timers, nothing is due, now or later."""
    found = await look(outbox, quiet=None)

    assert (found.due_count, found.failed_count, found.due_timers) == (0, 0, [])
    assert (found.next_due_time, found.next_due_timer) == (None, "")


async def test_the_schedule_follows_the_clock(outbox: OutboxFixture) -> None:
    """The schedule names the next message, and counts it as due once the clock has reached it."""
    await call_on(outbox, 3, 7)
    before = await look(outbox)
    assert before.next_due_time is not None
    assert timedelta() < before.next_due_time - before.now <= 3 * DAY
    assert before.due_count == 0

    outbox.clock.advance(4 * DAY)

    after = await look(outbox)
    assert after.next_due_time is not None
    assert 2 * DAY < after.next_due_time - after.now <= 3 * DAY
    assert (after.due_count, after.last_sequence) == (1, before.last_sequence)


async def test_a_delivery_counts_as_due_until_it_is_settled(outbox: OutboxFixture) -> None:
    """A message that is being delivered is due, and is counted by its method after its delivery."""
    await call_on(outbox, 0)
    began = outbox.clock.now()
    ((message,),) = await outbox.store.claim(1)
    leased = await look(outbox)
    assert leased.due_count == 1
    assert leased.next_due_time is not None
    assert leased.next_due_time - leased.now <= LEASE

    await outbox.store.settle([(message, Verdict(DeliveryStatus.DELIVERED, 0))])

    settled = await look(outbox, since=began)
    assert (settled.due_count, settled.delivered) == (0, {KEEP: 1})
    assert (await look(outbox, since=outbox.clock.now() + DAY)).delivered == {}


async def test_failed_messages_can_be_ignored(outbox: OutboxFixture) -> None:
    """A message whose last attempt failed is counted separately, and can be ignored."""
    await outbox.publish_settled(Verdict(DeliveryStatus.PENDING, 1, "UNAVAILABLE", pause_s=60.0))
    outbox.clock.advance(timedelta(minutes=2))

    all_messages, others = await look(outbox), await look(outbox, without_failed=True)

    assert (all_messages.due_count, all_messages.failed_count) == (1, 1)
    assert (others.due_count, others.failed_count) == (0, 1)


async def test_each_new_message_changes_the_sequence(outbox: OutboxFixture) -> None:
    """The sequence grows with each message, from the first one on."""
    sequences = [(await look(outbox)).last_sequence]
    for _ in range(2):
        await outbox.publish_event("hi")
        sequences.append((await look(outbox)).last_sequence)

    assert sequences == sorted(set(sequences))


async def test_timers_are_part_of_the_schedule(outbox: OutboxFixture) -> None:
    """A timer in the past is due, and the earliest one in the future is the next work."""
    now = outbox.clock.now()

    found = await look(outbox, late=now - DAY, idle=None, next=now + DAY, after=now + 2 * DAY)

    assert found.due_timers == ["late"]
    assert (found.next_due_time, found.next_due_timer) == (now + DAY, "next")


async def test_a_look_does_not_scan_future_messages(outbox: OutboxFixture) -> None:
    """A look at an outbox with 20,000 messages for later days uses the index of due times for each of its parts."""
    async with outbox.database.connection() as connection:
        await connection.execute(FILL, 20_000, KEEP)
        await connection.execute("analyze outbox")
        lines = await connection.fetch("explain " + _LOOK, timedelta(), LEASE, LONGEST_PAUSE, False)  # noqa: FBT003 - a parameter of SQL
    plan = "\n".join(line[0] for line in lines)

    assert "Seq Scan on outbox " not in plan
    assert plan.count("outbox_due") == 3
