"""Sender with real mail servers and a real database. Only the clock is simulated."""

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
    MessageStatus,
    SmtpOutcome,
    state_after,
)
from tests.services.communication.faulty_mail_server import BUSY, UNKNOWN
from tests.services.communication.mail_fixture import ADA, BOB, START, send_next
from tests.support.eventually import TIMEOUT_S, eventually
from tests.support.ports import free_ports

if TYPE_CHECKING:
    from services.communication.sender import Sender
    from tests.services.communication.faulty_mail_server import FaultyMailServer
    from tests.services.communication.mail_fixture import MailFixture


@pytest.mark.requirement("A2")
async def test_a_message_is_sent_once_and_its_text_is_deleted(mails: MailFixture, faulty: FaultyMailServer) -> None:
    """A message is sent once, and its recipients and text are deleted afterwards."""
    message_id = await mails.add()
    sender = mails.new_sender(faulty.url)

    assert await send_next(sender)
    assert not await send_next(sender)

    message = await mails.store.find(message_id)
    assert (message.status, message.attempts, message.last_error) == (MessageStatus.SENT, 1, "")
    assert message.send_time == START
    (mail,) = faulty.accepted
    assert mail.recipients == (ADA,)
    assert b"Dear Ada Lovelace" in mail.content
    async with mails.database.connection() as connection:
        row = await connection.fetchrow("select recipients, mail from messages")
    assert row is not None
    assert tuple(row) == ([], None)


@pytest.mark.requirement("A1")
async def test_a_temporary_refusal_is_retried_with_the_same_mail(mails: MailFixture, faulty: FaultyMailServer) -> None:
    """A 4xx answer is retried with the same bytes and Message-ID, so that recipients can detect a duplicate."""
    faulty.answers.extend([BUSY, BUSY])
    message_id = await mails.add()
    sender = mails.new_sender(faulty.url)

    for attempts in (1, 2):
        assert await send_next(sender)
        message = await mails.store.find(message_id)
        assert (message.status, message.attempts) == (MessageStatus.FAILED, attempts)
        assert message.last_error == "The mail server refused 1 of 1 recipients with code 451 4.7.1."
        await mails.advance_to_due(message_id)
    assert await send_next(sender)

    assert (await mails.store.find(message_id)).status is MessageStatus.SENT
    assert len({mail.content for mail in faulty.received}) == 1
    assert [mail.is_accepted for mail in faulty.received] == [False, False, True]


@pytest.mark.requirement("A1")
async def test_a_message_that_is_not_due_is_not_sent(mails: MailFixture, faulty: FaultyMailServer) -> None:
    """A failed message is not sent again before the pause is over."""
    faulty.answers.append(BUSY)
    message_id = await mails.add()
    sender = mails.new_sender(faulty.url)
    await send_next(sender)
    message = await mails.advance_to_due(message_id)

    mails.clock.advance(timedelta(microseconds=-1))
    assert message.due_time is not None
    assert message.due_time > START
    assert not await send_next(sender)


@pytest.mark.requirement("A1")
async def test_an_unreachable_server_is_a_temporary_failure(mails: MailFixture, faulty: FaultyMailServer) -> None:
    """A message fails while the mail server is unreachable, and is sent once the server is reachable again."""
    message_id = await mails.add()
    (port,) = free_ports(1)
    await send_next(mails.new_sender(f"smtp://127.0.0.1:{port}"))

    message = await mails.advance_to_due(message_id)
    assert (message.status, message.last_error) == (
        MessageStatus.FAILED,
        "The mail server is unreachable or closed the connection.",
    )
    await send_next(mails.new_sender(faulty.url))
    assert (await mails.store.find(message_id)).status is MessageStatus.SENT


async def test_a_rejected_login_is_a_temporary_failure(mails: MailFixture, faulty: FaultyMailServer) -> None:
    """A login that the server rejects leaves the message FAILED, because an operator can fix it."""
    message_id = await mails.add()
    await send_next(mails.new_sender(faulty.url.replace("smtp://", "smtp://solo60:secret@")))

    message = await mails.advance_to_due(message_id)
    assert message.status is MessageStatus.FAILED
    assert "secret" not in message.last_error
    await send_next(mails.new_sender(faulty.url))
    assert (await mails.store.find(message_id)).status is MessageStatus.SENT


async def test_a_permanent_refusal_makes_a_message_dead_at_once(mails: MailFixture, faulty: FaultyMailServer) -> None:
    """A 5xx answer makes a message DEAD after one attempt, and it is listed as failed."""
    faulty.refused[ADA] = UNKNOWN
    message_id = await mails.add()
    sender = mails.new_sender(faulty.url)
    await send_next(sender)

    message = await mails.store.find(message_id)
    assert (message.status, message.is_refused, message.attempts) == (MessageStatus.DEAD, True, 1)
    assert message.last_error == "The mail server refused 1 of 1 recipients with code 550 5.1.1."
    mails.clock.advance(timedelta(days=9))
    assert not await send_next(sender)
    assert [each.message_id for each in await mails.store.list_failed(9, before=None)] == [message_id]


@pytest.mark.requirement("A1", "A2")
async def test_a_retry_by_an_operator_allows_as_many_attempts_again(
    mails: MailFixture, faulty: FaultyMailServer
) -> None:
    """A message is DEAD after its last attempt, and an operator's retry allows MAX_ATTEMPTS again."""
    faulty.answers.extend([BUSY] * 2 * MAX_ATTEMPTS)
    message_id = await mails.add()
    sender = mails.new_sender(faulty.url)

    for rounds in (1, 2):
        for _ in range(MAX_ATTEMPTS):
            await mails.advance_to_due(message_id)
            assert await send_next(sender)
        message = await mails.store.find(message_id)
        assert (message.status, message.is_refused) == (MessageStatus.DEAD, False)
        assert message.attempts == rounds * MAX_ATTEMPTS
        mails.clock.advance(timedelta(seconds=MAX_BACKOFF_S))
        assert not await send_next(sender)
        async with mails.store.transaction() as tx:
            queued = await mails.store.requeue(tx, message_id, mails.clock.now())
        assert (queued.status, queued.attempts) == (MessageStatus.QUEUED, rounds * MAX_ATTEMPTS)

    assert await send_next(sender)
    assert (await mails.store.find(message_id)).status is MessageStatus.SENT


async def test_a_killed_senders_message_is_sent_after_the_lease(mails: MailFixture, faulty: FaultyMailServer) -> None:
    """A message claimed by a killed sender is sent by another sender once the lease expires, and not before."""
    message_id = await mails.add()
    assert await mails.store.claim(mails.clock.now()) is not None  # then its process is killed

    sender = mails.new_sender(faulty.url)
    mails.clock.advance(LEASE - timedelta(microseconds=1))
    assert not await send_next(sender)
    mails.clock.advance(timedelta(microseconds=1))
    assert await send_next(sender)

    message = await mails.store.find(message_id)
    assert (message.status, message.attempts) == (MessageStatus.SENT, 2)
    assert len(faulty.accepted) == 1


async def test_a_late_result_does_not_overwrite_the_next_senders(mails: MailFixture) -> None:
    """The late result of a slow sender is ignored, both while another sender works on the message and afterwards."""
    message_id = await mails.add()
    slow = await mails.store.claim(mails.clock.now())
    mails.clock.advance(LEASE)
    successor = await mails.store.claim(mails.clock.now())
    assert slow is not None
    assert successor is not None
    late = state_after(slow, SmtpOutcome("Late.", remaining=(ADA,)), mails.clock.now(), mails.rng)

    assert not await mails.store.settle(slow, late, mails.clock.now())
    assert (await mails.store.find(message_id)).status is MessageStatus.SENDING
    assert await mails.store.settle(
        successor, state_after(successor, SmtpOutcome(), START, mails.rng), mails.clock.now()
    )
    assert not await mails.store.settle(slow, late, mails.clock.now())

    message = await mails.store.find(message_id)
    assert (message.status, message.last_error) == (MessageStatus.SENT, "")


async def test_a_mail_in_progress_survives_a_move_of_the_clock(mails: MailFixture, faulty: FaultyMailServer) -> None:
    """A sender does not send a mail twice if the clock moves past its lease during the attempt."""
    faulty.answering.clear()
    message_id = await mails.add()
    sender = mails.new_sender(faulty.url)
    async with sender.running():
        await eventually(lambda: bool(faulty.received))
        assert await mails.store.next_due_time() == START

        mails.clock.advance(2 * LEASE)
        other_id = await mails.add()
        sender.wake()
        await eventually(lambda: len(faulty.received) == 2)
        faulty.answering.set()

        async def are_sent() -> bool:
            return {(await mails.store.find(each)).status for each in (message_id, other_id)} == {MessageStatus.SENT}

        await eventually(are_sent)

    assert (await mails.store.find(message_id)).attempts == 1
    assert len(faulty.received) == 2
    assert await mails.store.next_due_time() is None


async def test_concurrent_senders_send_each_message_once(mails: MailFixture, faulty: FaultyMailServer) -> None:
    """Eight senders on one store send 40 messages once each."""
    message_ids = [await mails.add() for _ in range(40)]
    senders = [mails.new_sender(faulty.url) for _ in range(8)]

    async def work(sender: Sender) -> None:
        while await send_next(sender):
            pass

    await asyncio.gather(*map(work, senders))

    assert len(faulty.received) == len({mail.content for mail in faulty.received}) == 40
    assert {(await mails.store.find(each)).attempts for each in message_ids} == {1}


async def test_a_locked_message_does_not_block_the_next(mails: MailFixture, faulty: FaultyMailServer) -> None:
    """A message that another sender has locked is skipped."""
    first, second = await mails.add(), await mails.add()
    async with mails.store.transaction() as other:
        await other.connection.execute("select 1 from messages where message_id = $1 for update", first)
        assert await send_next(mails.new_sender(faulty.url))

    assert (await mails.store.find(first)).status is MessageStatus.QUEUED
    assert (await mails.store.find(second)).status is MessageStatus.SENT


async def test_only_temporarily_refused_recipients_are_retried(mails: MailFixture, faulty: FaultyMailServer) -> None:
    """A retry goes only to the recipients that were refused temporarily, so that the others get no duplicate."""
    faulty.refused[BOB] = BUSY
    message_id = await mails.add(ADA, BOB)
    sender = mails.new_sender(faulty.url)
    await send_next(sender)
    assert (
        await mails.advance_to_due(message_id)
    ).last_error == "The mail server refused 1 of 2 recipients with code 451 4.7.1."
    await send_next(sender)

    assert [mail.recipients for mail in faulty.accepted] == [(ADA,), (BOB,)]
    assert (await mails.store.find(message_id)).status is MessageStatus.SENT


async def test_a_message_is_sent_although_one_recipient_is_refused(
    mails: MailFixture, faulty: FaultyMailServer
) -> None:
    """A permanently refused recipient does not stop the mail to the others, and is counted in `last_error`."""
    faulty.refused[BOB] = UNKNOWN
    message_id = await mails.add(ADA, BOB)
    await send_next(mails.new_sender(faulty.url))

    message = await mails.store.find(message_id)
    assert (message.status, message.last_error) == (
        MessageStatus.SENT,
        "The mail server refused 1 of 2 recipients with code 550 5.1.1.",
    )


@pytest.mark.requirement("A2")
async def test_a_running_sender_sends_a_new_message_when_woken(mails: MailFixture, faulty: FaultyMailServer) -> None:
    """A running sender sends a new message when it is woken, and signals the attempt to its watchers."""
    sender = mails.new_sender(faulty.url)
    async with sender.running():
        message_id = await mails.add()
        with sender.watching(message_id) as attempted:
            sender.wake()
            async with asyncio.timeout(60):
                await attempted.wait()

    assert (await mails.store.find(message_id)).status is MessageStatus.SENT


async def test_a_stopping_sender_finishes_its_attempts(
    mails: MailFixture, faulty: FaultyMailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stopping sender leaves no message in the status SENDING."""
    # On a busy machine the attempts may need more than the 5 s that a stopping sender gives them.
    monkeypatch.setattr("services.communication.sender.STOP_TIMEOUT_S", TIMEOUT_S)
    message_ids = [await mails.add() for _ in range(20)]
    async with mails.new_sender(faulty.url).running():
        await eventually(lambda: bool(faulty.received))

    states = [(await mails.store.find(each)).status for each in message_ids]
    assert set(states) <= {MessageStatus.QUEUED, MessageStatus.SENT}
    assert states.count(MessageStatus.SENT) == len(faulty.accepted)


async def test_a_sender_survives_an_outage_of_its_database(mails: MailFixture, faulty: FaultyMailServer) -> None:
    """A sender survives an outage of its database and sends messages after it."""
    sender = mails.new_sender(faulty.url)
    async with sender.running():
        async with mails.database.connection() as connection:
            await connection.execute("alter table messages rename to gone")
        with capture_logs() as logs:
            sender.wake()
            await eventually(lambda: bool(logs))
        assert logs[0]["event"] == "cannot look for due messages"
        async with mails.database.connection() as connection:
            await connection.execute("alter table gone rename to messages")
        message_id = await mails.add()
        with sender.watching(message_id) as attempted:
            sender.wake()
            async with asyncio.timeout(60):
                await attempted.wait()

    assert (await mails.store.find(message_id)).status is MessageStatus.SENT
