from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from contracts.errors import OutboxMessageNotFound, OutboxMessagePending, OutboxMessageSettled
from mesh.outbox.message import Status, Verdict

if TYPE_CHECKING:
    from tests.mesh.outbox.post import Post

DELIVERED = Verdict(Status.DELIVERED, 0)


async def test_a_dead_letter_that_is_retried_is_new_again(post: Post) -> None:
    """It keeps its id, so the receiver knows it, and begins with no attempts."""
    message = await post.settled(Verdict(Status.DEAD, 8, "INTERNAL."))

    retried = await post.inspection.retry(message.message_id)

    assert (retried.status, retried.message.attempts, retried.last_error) == (Status.PENDING, 0, "INTERNAL.")
    ((again,),) = await post.store.claim(uuid.uuid4(), 1)
    assert (again.message_id, again.payload) == (message.message_id, message.payload)


async def test_a_retried_message_comes_after_what_waits_for_its_aggregate(post: Post) -> None:
    """What others are about to deliver is not overtaken."""
    message = await post.settled(Verdict(Status.DEAD, 8))
    await post.say("meanwhile")
    await post.inspection.retry(message.message_id)

    ((first, second),) = await post.store.claim(uuid.uuid4(), 1)

    assert second.message_id == message.message_id != first.message_id


async def test_what_is_delivered_can_neither_be_retried_nor_dropped(post: Post) -> None:
    """What has happened cannot be taken back."""
    message = await post.settled(DELIVERED)

    for mend in (post.inspection.retry, post.inspection.drop):
        with pytest.raises(OutboxMessageSettled):
            await mend(message.message_id)


async def test_what_is_being_delivered_is_left_alone(post: Post) -> None:
    """Nobody drops or repeats what another process has in its hands."""
    await post.say("hi")
    ((message,),) = await post.store.claim(uuid.uuid4(), 1)

    for mend in (post.inspection.retry, post.inspection.drop):
        with pytest.raises(OutboxMessageSettled):
            await mend(message.message_id)


async def test_a_dropped_message_is_gone(post: Post) -> None:
    """Dead letters stay until somebody decides."""
    message = await post.settled(Verdict(Status.DEAD, 8))

    await post.inspection.drop(message.message_id)

    with pytest.raises(OutboxMessageNotFound):
        await post.inspection.find(message.message_id)


async def test_a_replay_is_a_message_of_its_own_once_for_each_call(post: Post) -> None:
    """The receiver acts on it again, and repeating the call adds nothing."""
    message = await post.settled(DELIVERED)
    new_id = uuid.uuid4()

    for _ in range(2):
        await post.inspection.replay(message.message_id, new_id)

    ((again,),) = await post.store.claim(uuid.uuid4(), 10)
    assert (again.message_id, again.payload) == (new_id, message.payload)


async def test_what_is_not_delivered_is_not_replayed(post: Post) -> None:
    """It would come twice: it is retried instead."""
    message = await post.settled(Verdict(Status.DEAD, 8))

    with pytest.raises(OutboxMessagePending):
        await post.inspection.replay(message.message_id, uuid.uuid4())


async def test_a_message_that_waits_for_its_next_attempt_keeps_its_place_when_it_is_hurried(post: Post) -> None:
    """What is behind it in its order does not overtake it."""
    message = await post.settled(Verdict(Status.PENDING, 3, "INTERNAL.", pause_s=600))
    await post.say("behind it")

    await post.inspection.retry(message.message_id)

    ((first, _second),) = await post.store.claim(uuid.uuid4(), 1)
    assert (first.message_id, first.attempts) == (message.message_id, 0)
