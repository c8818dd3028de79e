from __future__ import annotations

import uuid
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from contracts.errors import OutboxMessageNotFound, OutboxMessagePending, OutboxMessageSettled
from mesh.outbox.message import Message, Status, Verdict
from mesh.outbox.store import _CLAIM, KEPT_FOR, LEASE
from mesh.upkeep import DELETED_AT_ONCE

if TYPE_CHECKING:
    from tests.mesh.outbox.post import Post

DELIVERED = Verdict(Status.DELIVERED, 0)
FILL = """
    insert into outbox (message_id, destination, payload, correlation_id, traceparent, status, due_time, settle_time)
    select gen_random_uuid(), 'solo60.example.v1.EchoService/Keep', '', '', '', 'delivered', null, now() - $2::interval
    from generate_series(1, $1)
"""


async def fill(post: Post, count: int, age: timedelta = timedelta()) -> None:
    """Fill the outbox with what was delivered so long ago."""
    async with post.database.connection() as connection:
        await connection.execute(FILL, count, age)


async def settled(post: Post, verdict: Verdict) -> Message:
    """Publish one message and settle it."""
    await post.say("hi")
    holder = uuid.uuid4()
    ((message,),) = await post.store.claim(holder, 1)
    await post.store.settle(holder, [(message, verdict)])
    return message


async def test_claiming_looks_at_nothing_that_is_delivered(post: Post) -> None:
    """T-g8: the plan of the claim uses the indexes of what is pending, however much is delivered."""
    await fill(post, 20_000)
    await post.say("pending")
    async with post.database.connection() as connection:
        await connection.execute("analyze outbox")
        lines = await connection.fetch("explain " + _CLAIM, uuid.uuid4(), 100, [], 19, LEASE)
    plan = "\n".join(line[0] for line in lines)

    assert "Index Scan using outbox_due" in plan
    assert "Seq Scan" not in plan


async def test_what_was_delivered_is_forgotten_after_a_day(post: Post) -> None:
    """Part 1: prunes what is delivered, in parts, and nothing else."""
    await fill(post, DELETED_AT_ONCE + 1, KEPT_FOR + timedelta(hours=1))
    await fill(post, 3, KEPT_FOR - timedelta(hours=1))
    await post.say("pending")

    assert await post.store.forget_delivered() == DELETED_AT_ONCE + 1
    assert (await post.count("delivered"), await post.count("pending")) == (3, 1)


async def test_a_dead_letter_that_is_retried_is_new_again(post: Post) -> None:
    """T-g6: it keeps its id, so the receiver knows it, and begins with no attempts."""
    message = await settled(post, Verdict(Status.DEAD, 8, "INTERNAL."))

    retried = await post.store.retry(message.message_id)

    assert (retried.status, retried.message.attempts, retried.last_error) == (Status.PENDING, 0, "INTERNAL.")
    ((again,),) = await post.store.claim(uuid.uuid4(), 1)
    assert (again.message_id, again.payload) == (message.message_id, message.payload)


async def test_a_retried_message_comes_after_what_waits_for_its_aggregate(post: Post) -> None:
    """T-g3: what others are about to deliver is not overtaken."""
    message = await settled(post, Verdict(Status.DEAD, 8))
    await post.say("meanwhile")
    await post.store.retry(message.message_id)

    ((first, second),) = await post.store.claim(uuid.uuid4(), 1)

    assert second.message_id == message.message_id != first.message_id


async def test_what_is_delivered_can_neither_be_retried_nor_dropped(post: Post) -> None:
    """What has happened cannot be taken back."""
    message = await settled(post, DELIVERED)

    for mend in (post.store.retry, post.store.drop):
        with pytest.raises(OutboxMessageSettled):
            await mend(message.message_id)


async def test_what_is_being_delivered_is_left_alone(post: Post) -> None:
    """Nobody drops or repeats what another process has in its hands."""
    await post.say("hi")
    ((message,),) = await post.store.claim(uuid.uuid4(), 1)

    for mend in (post.store.retry, post.store.drop):
        with pytest.raises(OutboxMessageSettled):
            await mend(message.message_id)


async def test_a_dropped_message_is_gone(post: Post) -> None:
    """Dead letters stay until somebody decides."""
    message = await settled(post, Verdict(Status.DEAD, 8))

    await post.store.drop(message.message_id)

    with pytest.raises(OutboxMessageNotFound):
        await post.store.find(message.message_id)


async def test_a_replay_is_a_message_of_its_own_once_for_each_call(post: Post) -> None:
    """The receiver acts on it again, and repeating the call adds nothing."""
    message = await settled(post, DELIVERED)
    new_id = uuid.uuid4()

    for _ in range(2):
        await post.store.replay(message.message_id, new_id)

    ((again,),) = await post.store.claim(uuid.uuid4(), 10)
    assert (again.message_id, again.payload) == (new_id, message.payload)


async def test_what_is_not_delivered_is_not_replayed(post: Post) -> None:
    """It would come twice: it is retried instead."""
    message = await settled(post, Verdict(Status.DEAD, 8))

    with pytest.raises(OutboxMessagePending):
        await post.store.replay(message.message_id, uuid.uuid4())


async def test_what_comes_twice_from_elsewhere_is_stored_once(post: Post) -> None:
    """T-g2: a broker repeats, and the inbox of the receiver does not."""
    message = Message(uuid.uuid4(), "solo60.example.v1.EchoService/Keep", b"", "", None, "correlation", "")

    for _ in range(2):
        await post.store.receive([message])

    assert await post.count("pending") == 1


async def test_the_backlog_says_what_waits_and_what_is_given_up(post: Post) -> None:
    """Part 7: depth and age by destination, of what is due and what is dead."""
    await settled(post, Verdict(Status.DEAD, 8))
    await post.say("pending")
    async with post.database.connection() as connection:
        await connection.execute(
            "update outbox set deliver_time = now() - interval '1 minute' where status = 'pending'"
        )

    backlog = {status: (depth, oldest_s) for _, status, depth, oldest_s in await post.store.backlog()}

    assert backlog[Status.DEAD][0] == backlog[Status.PENDING][0] == 1
    assert backlog[Status.PENDING][1] >= 60
