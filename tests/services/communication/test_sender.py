"""The sender with real mail servers and a real database; only the clock is simulated."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from services.communication.domain import (
    LEASE,
    MAX_ATTEMPTS,
    MAX_BACKOFF_S,
    Outcome,
    Status,
    judge,
)
from tests.services.communication.moody_mail_server import BUSY, UNKNOWN
from tests.services.communication.patience import until
from tests.services.communication.post import ADA, BEGIN, BOB
from tests.support.ports import free_ports

if TYPE_CHECKING:
    from services.communication.sender import Sender
    from tests.services.communication.moody_mail_server import MoodyMailServer
    from tests.services.communication.post import Post


@pytest.mark.requirement("A2")
async def test_a_message_is_sent_once_and_its_text_is_deleted(post: Post, moody: MoodyMailServer) -> None:
    """A message is sent once, and its recipients and text are deleted afterwards."""
    message_id = await post.add()
    sender = post.sender(moody.url)

    assert await sender.send_next()
    assert not await sender.send_next()

    message = await post.store.find(message_id)
    assert (message.status, message.attempts, message.last_error) == (Status.SENT, 1, "")
    assert message.send_time == BEGIN
    (mail,) = moody.accepted
    assert mail.recipients == (ADA,)
    assert b"Dear Ada Lovelace" in mail.content
    async with post.database.connection() as connection:
        row = await connection.fetchrow("select recipients, mail from messages")
    assert row is not None
    assert tuple(row) == ([], None)


@pytest.mark.requirement("A1")
async def test_a_temporary_refusal_is_retried_with_the_same_mail(post: Post, moody: MoodyMailServer) -> None:
    """A 4xx answer is retried with the same bytes and Message-ID, so that recipients can detect a duplicate."""
    moody.answers.extend([BUSY, BUSY])
    message_id = await post.add()
    sender = post.sender(moody.url)

    for attempts in (1, 2):
        assert await sender.send_next()
        message = await post.store.find(message_id)
        assert (message.status, message.attempts) == (Status.FAILED, attempts)
        assert message.last_error == "The mail server refused 1 of 1 recipients with code 451 4.7.1."
        await post.due(message_id)
    assert await sender.send_next()

    assert (await post.store.find(message_id)).status is Status.SENT
    assert len({mail.content for mail in moody.received}) == 1
    assert [mail.is_accepted for mail in moody.received] == [False, False, True]


@pytest.mark.requirement("A1")
async def test_a_message_that_is_not_due_is_not_sent(post: Post, moody: MoodyMailServer) -> None:
    """A failed message is not sent again before the pause is over."""
    moody.answers.append(BUSY)
    message_id = await post.add()
    sender = post.sender(moody.url)
    await sender.send_next()
    message = await post.due(message_id)

    post.clock.advance(timedelta(microseconds=-1))
    assert message.due_time is not None
    assert message.due_time > BEGIN
    assert not await sender.send_next()


@pytest.mark.requirement("A1")
async def test_an_unreachable_server_is_a_temporary_failure(post: Post, moody: MoodyMailServer) -> None:
    """A message fails while the mail server is unreachable, and is sent once the server is reachable again."""
    message_id = await post.add()
    (port,) = free_ports(1)
    await post.sender(f"smtp://127.0.0.1:{port}").send_next()

    message = await post.due(message_id)
    assert (message.status, message.last_error) == (
        Status.FAILED,
        "The mail server is unreachable or closed the connection.",
    )
    await post.sender(moody.url).send_next()
    assert (await post.store.find(message_id)).status is Status.SENT


async def test_a_rejected_login_is_a_temporary_failure(post: Post, moody: MoodyMailServer) -> None:
    """A login that the server rejects leaves the message FAILED, because an operator can fix it."""
    message_id = await post.add()
    await post.sender(moody.url.replace("smtp://", "smtp://solo60:secret@")).send_next()

    message = await post.due(message_id)
    assert message.status is Status.FAILED
    assert "secret" not in message.last_error
    await post.sender(moody.url).send_next()
    assert (await post.store.find(message_id)).status is Status.SENT


async def test_a_permanent_refusal_makes_a_message_dead_at_once(post: Post, moody: MoodyMailServer) -> None:
    """A 5xx answer makes a message DEAD after one attempt, and it is listed as failed."""
    moody.refused[ADA] = UNKNOWN
    message_id = await post.add()
    sender = post.sender(moody.url)
    await sender.send_next()

    message = await post.store.find(message_id)
    assert (message.status, message.is_refused, message.attempts) == (Status.DEAD, True, 1)
    assert message.last_error == "The mail server refused 1 of 1 recipients with code 550 5.1.1."
    post.clock.advance(timedelta(days=9))
    assert not await sender.send_next()
    assert [each.message_id for each in await post.store.list_failed(9, before=None)] == [message_id]


@pytest.mark.requirement("A1", "A2")
async def test_a_retry_by_an_operator_allows_as_many_attempts_again(post: Post, moody: MoodyMailServer) -> None:
    """A message is DEAD after its last attempt, and an operator's retry allows MAX_ATTEMPTS again."""
    moody.answers.extend([BUSY] * 2 * MAX_ATTEMPTS)
    message_id = await post.add()
    sender = post.sender(moody.url)

    for rounds in (1, 2):
        for _ in range(MAX_ATTEMPTS):
            await post.due(message_id)
            assert await sender.send_next()
        message = await post.store.find(message_id)
        assert (message.status, message.is_refused) == (Status.DEAD, False)
        assert message.attempts == rounds * MAX_ATTEMPTS
        post.clock.advance(timedelta(seconds=MAX_BACKOFF_S))
        assert not await sender.send_next()
        async with post.store.transaction() as transaction:
            queued = await post.store.requeue(transaction, message_id, post.clock.now())
        assert (queued.status, queued.attempts) == (Status.QUEUED, rounds * MAX_ATTEMPTS)

    assert await sender.send_next()
    assert (await post.store.find(message_id)).status is Status.SENT


async def test_a_killed_senders_message_is_sent_after_the_lease(post: Post, moody: MoodyMailServer) -> None:
    """A message claimed by a killed sender is sent by another sender once the lease expires, and not before."""
    message_id = await post.add()
    assert await post.store.claim(post.clock.now()) is not None  # then its process is killed

    sender = post.sender(moody.url)
    post.clock.advance(LEASE - timedelta(microseconds=1))
    assert not await sender.send_next()
    post.clock.advance(timedelta(microseconds=1))
    assert await sender.send_next()

    message = await post.store.find(message_id)
    assert (message.status, message.attempts) == (Status.SENT, 2)
    assert len(moody.accepted) == 1


async def test_a_late_result_does_not_overwrite_the_next_senders(post: Post) -> None:
    """The late result of a slow sender is ignored, both while another sender works on the message and afterwards."""
    message_id = await post.add()
    slow = await post.store.claim(post.clock.now())
    post.clock.advance(LEASE)
    successor = await post.store.claim(post.clock.now())
    assert slow is not None
    assert successor is not None
    late = judge(slow, Outcome("Late.", remaining=(ADA,)), post.clock.now(), post.rng)

    assert not await post.store.settle(slow, late, post.clock.now())
    assert (await post.store.find(message_id)).status is Status.SENDING
    assert await post.store.settle(successor, judge(successor, Outcome(), BEGIN, post.rng), post.clock.now())
    assert not await post.store.settle(slow, late, post.clock.now())

    message = await post.store.find(message_id)
    assert (message.status, message.last_error) == (Status.SENT, "")


async def test_concurrent_senders_send_each_message_once(post: Post, moody: MoodyMailServer) -> None:
    """Eight senders on one store send 40 messages once each."""
    message_ids = [await post.add() for _ in range(40)]
    senders = [post.sender(moody.url) for _ in range(8)]

    async def work(sender: Sender) -> None:
        while await sender.send_next():
            pass

    await asyncio.gather(*map(work, senders))

    assert len(moody.received) == len({mail.content for mail in moody.received}) == 40
    assert {(await post.store.find(each)).attempts for each in message_ids} == {1}


async def test_a_locked_message_does_not_block_the_next(post: Post, moody: MoodyMailServer) -> None:
    """A message that another sender has locked is skipped."""
    first, second = await post.add(), await post.add()
    async with post.store.transaction() as other:
        await other.execute("select 1 from messages where message_id = $1 for update", first)
        assert await post.sender(moody.url).send_next()

    assert (await post.store.find(first)).status is Status.QUEUED
    assert (await post.store.find(second)).status is Status.SENT


async def test_only_temporarily_refused_recipients_are_retried(post: Post, moody: MoodyMailServer) -> None:
    """A retry goes only to the recipients that were refused temporarily, so that the others get no duplicate."""
    moody.refused[BOB] = BUSY
    message_id = await post.add(ADA, BOB)
    sender = post.sender(moody.url)
    await sender.send_next()
    assert (await post.due(message_id)).last_error == "The mail server refused 1 of 2 recipients with code 451 4.7.1."
    await sender.send_next()

    assert [mail.recipients for mail in moody.accepted] == [(ADA,), (BOB,)]
    assert (await post.store.find(message_id)).status is Status.SENT


async def test_a_message_is_sent_although_one_recipient_is_refused(post: Post, moody: MoodyMailServer) -> None:
    """A permanently refused recipient does not stop the mail to the others, and is counted in `last_error`."""
    moody.refused[BOB] = UNKNOWN
    message_id = await post.add(ADA, BOB)
    await post.sender(moody.url).send_next()

    message = await post.store.find(message_id)
    assert (message.status, message.last_error) == (
        Status.SENT,
        "The mail server refused 1 of 2 recipients with code 550 5.1.1.",
    )


@pytest.mark.requirement("A2")
async def test_a_running_sender_sends_a_new_message_when_woken(post: Post, moody: MoodyMailServer) -> None:
    """A running sender sends a new message when it is woken, and signals the attempt to its watchers."""
    sender = post.sender(moody.url)
    async with sender.running():
        message_id = await post.add()
        with sender.watching(message_id) as attempted:
            sender.wake()
            async with asyncio.timeout(60):
                await attempted.wait()

    assert (await post.store.find(message_id)).status is Status.SENT


async def test_a_stopping_sender_finishes_its_attempts(post: Post, moody: MoodyMailServer) -> None:
    """A stopping sender leaves no message in the status SENDING."""
    message_ids = [await post.add() for _ in range(20)]
    async with post.sender(moody.url).running():
        await until(lambda: bool(moody.received))

    states = [(await post.store.find(each)).status for each in message_ids]
    assert set(states) <= {Status.QUEUED, Status.SENT}
    assert states.count(Status.SENT) == len(moody.accepted)


async def test_a_sender_survives_an_outage_of_its_database(post: Post, moody: MoodyMailServer) -> None:
    """A sender survives an outage of its database and sends messages after it."""
    sender = post.sender(moody.url)
    async with sender.running():
        async with post.database.connection() as connection:
            await connection.execute("alter table messages rename to gone")
        with capture_logs() as logs:
            sender.wake()
            await until(lambda: bool(logs))
        assert logs[0]["event"] == "cannot look for due messages"
        async with post.database.connection() as connection:
            await connection.execute("alter table gone rename to messages")
        message_id = await post.add()
        with sender.watching(message_id) as attempted:
            sender.wake()
            async with asyncio.timeout(60):
                await attempted.wait()

    assert (await post.store.find(message_id)).status is Status.SENT
