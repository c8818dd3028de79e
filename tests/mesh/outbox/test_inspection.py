from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from contracts.errors import OutboxMessageNotFound, OutboxMessagePending, OutboxMessageSettled
from mesh.outbox.message import Status, Verdict

if TYPE_CHECKING:
    from tests.mesh.outbox.post import Post

DELIVERED = Verdict(Status.DELIVERED, 0)


async def test_a_retried_dead_letter_starts_over(post: Post) -> None:
    """A retried dead letter has its old id and payload, and starts over without attempts."""
    message = await post.settled(Verdict(Status.DEAD, 8, "INTERNAL."))

    retried = await post.inspection.retry(message.message_id)

    assert (retried.status, retried.message.attempts, retried.last_error) == (Status.PENDING, 0, "INTERNAL.")
    ((again,),) = await post.store.claim(uuid.uuid4(), 1)
    assert (again.message_id, again.payload) == (message.message_id, message.payload)


async def test_a_retried_message_goes_to_the_end_of_its_aggregate(post: Post) -> None:
    """A retried dead letter is delivered after the messages that already wait for its aggregate."""
    message = await post.settled(Verdict(Status.DEAD, 8))
    await post.say("meanwhile")
    await post.inspection.retry(message.message_id)

    ((first, second),) = await post.store.claim(uuid.uuid4(), 1)

    assert second.message_id == message.message_id != first.message_id


async def test_a_delivered_message_can_neither_be_retried_nor_dropped(post: Post) -> None:
    """Retrying or dropping a delivered message raises OutboxMessageSettled."""
    message = await post.settled(DELIVERED)

    for operation in (post.inspection.retry, post.inspection.drop):
        with pytest.raises(OutboxMessageSettled):
            await operation(message.message_id)


async def test_a_leased_message_can_neither_be_retried_nor_dropped(post: Post) -> None:
    """Retrying or dropping a message that a relay is delivering raises OutboxMessageSettled."""
    await post.say("hi")
    ((message,),) = await post.store.claim(uuid.uuid4(), 1)

    for operation in (post.inspection.retry, post.inspection.drop):
        with pytest.raises(OutboxMessageSettled):
            await operation(message.message_id)


async def test_a_dropped_dead_letter_is_gone(post: Post) -> None:
    """A dropped dead letter is no longer found."""
    message = await post.settled(Verdict(Status.DEAD, 8))

    await post.inspection.drop(message.message_id)

    with pytest.raises(OutboxMessageNotFound):
        await post.inspection.find(message.message_id)


async def test_a_replay_adds_one_new_message_for_each_call(post: Post) -> None:
    """A replay adds a new message with the same payload. Repeating the call adds no further message."""
    message = await post.settled(DELIVERED)
    new_id = uuid.uuid4()

    for _ in range(2):
        await post.inspection.replay(message.message_id, new_id)

    ((again,),) = await post.store.claim(uuid.uuid4(), 10)
    assert (again.message_id, again.payload) == (new_id, message.payload)


async def test_an_undelivered_message_cannot_be_replayed(post: Post) -> None:
    """Replaying a dead letter raises OutboxMessagePending, because it has to be retried instead."""
    message = await post.settled(Verdict(Status.DEAD, 8))

    with pytest.raises(OutboxMessagePending):
        await post.inspection.replay(message.message_id, uuid.uuid4())


async def test_retrying_a_waiting_message_keeps_its_place(post: Post) -> None:
    """Retrying a message that waits for its next attempt makes it due at once and keeps its place in the order."""
    message = await post.settled(Verdict(Status.PENDING, 3, "INTERNAL.", pause_s=600))
    await post.say("behind it")

    await post.inspection.retry(message.message_id)

    ((first, _second),) = await post.store.claim(uuid.uuid4(), 1)
    assert (first.message_id, first.attempts) == (message.message_id, 0)
