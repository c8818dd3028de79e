from __future__ import annotations

import uuid
from datetime import timedelta
from typing import TYPE_CHECKING

from mesh.data.deletion import BATCH_SIZE
from mesh.outbox.message import DeliveryStatus, OutboxMessage, Verdict
from mesh.outbox.store import CLAIM, RETENTION, claim_values

if TYPE_CHECKING:
    from tests.mesh.outbox.outbox_fixture import OutboxFixture

DELIVERED = Verdict(DeliveryStatus.DELIVERED, 0)
FILL = """
    insert into outbox (message_id, destination, payload, correlation_id, traceparent, status, due_time, settle_time)
    select gen_random_uuid(), 'solo60.example.v1.EchoService/Keep', '', '', '', 'delivered', null, now() - $2::interval
    from generate_series(1, $1)
"""


async def fill(outbox: OutboxFixture, count: int, age: timedelta = timedelta()) -> None:
    """Fill the outbox with `count` messages that were delivered `age` ago."""
    async with outbox.database.connection() as connection:
        await connection.execute(FILL, count, age)


async def test_claiming_does_not_scan_delivered_messages(outbox: OutboxFixture) -> None:
    """Claiming uses the index of due messages and scans no delivered ones."""
    await fill(outbox, 20_000)
    await outbox.publish_event("pending")
    async with outbox.database.connection() as connection:
        await connection.execute("analyze outbox")
        lines = await connection.fetch("explain " + CLAIM, *claim_values(100, timedelta(), held=[uuid.uuid4()]))
    plan = "\n".join(line[0] for line in lines)

    assert "Index Scan using outbox_due" in plan
    assert "Seq Scan" not in plan


async def test_delivered_messages_are_deleted_after_a_day(outbox: OutboxFixture) -> None:
    """Messages that were delivered over a day ago are deleted, even if they fill more than one batch.

    All other messages stay in the outbox.
    """
    await fill(outbox, BATCH_SIZE + 1, RETENTION + timedelta(hours=1))
    await fill(outbox, 3, RETENTION - timedelta(hours=1))
    await outbox.publish_event("pending")

    assert await outbox.store.delete_delivered() == BATCH_SIZE + 1
    assert (await outbox.count("delivered"), await outbox.count("pending")) == (3, 1)


async def test_a_message_received_twice_is_stored_once(outbox: OutboxFixture) -> None:
    """A message that is received twice is stored once, because a broker may repeat it."""
    message = OutboxMessage(uuid.uuid4(), "solo60.example.v1.EchoService/Keep", b"", "", None, "correlation", "")

    for _ in range(2):
        await outbox.store.receive([message])

    assert await outbox.count("pending") == 1


async def test_the_backlog_counts_pending_and_dead_messages(outbox: OutboxFixture) -> None:
    """The backlog reports the number of due and of dead messages and the age of the oldest."""
    await outbox.publish_settled(Verdict(DeliveryStatus.DEAD, 8))
    await outbox.publish_event("pending")
    async with outbox.database.connection() as connection:
        await connection.execute(
            "update outbox set deliver_time = now() - interval '1 minute' where status = 'pending'"
        )

    backlog = {status: (depth, oldest_s) for _, status, depth, oldest_s in await outbox.store.backlog()}

    assert backlog[DeliveryStatus.DEAD][0] == backlog[DeliveryStatus.PENDING][0] == 1
    assert backlog[DeliveryStatus.PENDING][1] >= 60
