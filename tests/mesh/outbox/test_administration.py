from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from contracts.errors import OutboxMessageNotFound, OutboxMessagePending, OutboxMessageSettled
from mesh.outbox.message import DeliveryStatus, Verdict

if TYPE_CHECKING:
    from tests.mesh.outbox.outbox_fixture import OutboxFixture

DELIVERED = Verdict(DeliveryStatus.DELIVERED, 0)


async def test_a_retried_dead_letter_starts_over(outbox: OutboxFixture) -> None:
    """A retried dead letter has its old id and payload, and starts over without attempts."""
    message = await outbox.publish_settled(Verdict(DeliveryStatus.DEAD, 8, "INTERNAL."))

    retried = await outbox.administration.retry(message.message_id)

    assert (retried.status, retried.message.attempts, retried.last_error) == (DeliveryStatus.PENDING, 0, "INTERNAL.")
    ((again,),) = await outbox.store.claim(1)
    assert (again.message_id, again.payload) == (message.message_id, message.payload)


async def test_a_retried_message_goes_to_the_end_of_its_aggregate(outbox: OutboxFixture) -> None:
    """A retried dead letter is delivered after the messages that already wait for its aggregate."""
    message = await outbox.publish_settled(Verdict(DeliveryStatus.DEAD, 8))
    await outbox.publish_event("meanwhile")
    await outbox.administration.retry(message.message_id)

    ((first, second),) = await outbox.store.claim(1)

    assert second.message_id == message.message_id != first.message_id


async def test_a_delivered_message_can_neither_be_retried_nor_dropped(outbox: OutboxFixture) -> None:
    """Retrying or dropping a delivered message raises OutboxMessageSettled."""
    message = await outbox.publish_settled(DELIVERED)

    for operation in (outbox.administration.retry, outbox.administration.drop):
        with pytest.raises(OutboxMessageSettled):
            await operation(message.message_id)


async def test_a_leased_message_can_neither_be_retried_nor_dropped(outbox: OutboxFixture) -> None:
    """Retrying or dropping a message that a relay is delivering raises OutboxMessageSettled."""
    await outbox.publish_event("hi")
    ((message,),) = await outbox.store.claim(1)

    for operation in (outbox.administration.retry, outbox.administration.drop):
        with pytest.raises(OutboxMessageSettled):
            await operation(message.message_id)


async def test_a_dropped_dead_letter_is_gone(outbox: OutboxFixture) -> None:
    """A dropped dead letter is no longer found."""
    message = await outbox.publish_settled(Verdict(DeliveryStatus.DEAD, 8))

    await outbox.administration.drop(message.message_id)

    with pytest.raises(OutboxMessageNotFound):
        await outbox.administration.find(message.message_id)


async def test_a_replay_adds_one_new_message_for_each_call(outbox: OutboxFixture) -> None:
    """A replay adds a new message with the same payload. Repeating the call adds no further message."""
    message = await outbox.publish_settled(DELIVERED)
    new_id = uuid.uuid4()

    for _ in range(2):
        await outbox.administration.replay(message.message_id, new_id)

    ((again,),) = await outbox.store.claim(10)
    assert (again.message_id, again.payload) == (new_id, message.payload)


async def test_an_undelivered_message_cannot_be_replayed(outbox: OutboxFixture) -> None:
    """Replaying a dead letter raises OutboxMessagePending, because it has to be retried instead."""
    message = await outbox.publish_settled(Verdict(DeliveryStatus.DEAD, 8))

    with pytest.raises(OutboxMessagePending):
        await outbox.administration.replay(message.message_id, uuid.uuid4())


async def test_retrying_a_waiting_message_does_not_change_its_place(outbox: OutboxFixture) -> None:
    """Retrying a message that waits for its next attempt makes it due at once, in its old place in the order."""
    message = await outbox.publish_settled(Verdict(DeliveryStatus.PENDING, 3, "INTERNAL.", pause_s=600))
    await outbox.publish_event("behind it")

    await outbox.administration.retry(message.message_id)

    ((first, _second),) = await outbox.store.claim(1)
    assert (first.message_id, first.attempts) == (message.message_id, 0)


async def test_messages_are_found_by_an_id_that_they_mention(outbox: OutboxFixture) -> None:
    """The id may be in the request or the aggregate key. A page of other messages is empty."""
    in_text, in_key, unknown = (str(uuid.uuid4()) for _ in range(3))
    await outbox.publish_event(f"about {in_text}")
    await outbox.publish_event("hi", place=in_key)

    async def keys_of(mentioned_id: str) -> list[str | None]:
        found = await outbox.administration.list(None, None, 10, before=None, mentioned_id=mentioned_id)
        return [each.message.aggregate_key for each in found]

    assert await keys_of(in_text) == ["here"]
    assert await keys_of(in_key) == [in_key]
    assert await keys_of(unknown) == []
