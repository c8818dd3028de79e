"""The sender against real mail servers and a real database; only the clock is the test's."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

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
from tests.services.communication.patience import PATIENCE_S, until
from tests.services.communication.post import ADA, BEGIN, BOB
from tests.support.ports import free_ports

if TYPE_CHECKING:
    import pytest

    from services.communication.sender import Sender
    from tests.services.communication.moody_mail_server import MoodyMailServer
    from tests.services.communication.post import Post


async def test_a_message_is_sent_once_and_its_text_is_forgotten(post: Post, moody: MoodyMailServer) -> None:
    """A2: what is sent is sent once; afterwards nothing personal is left of it."""
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


async def test_what_a_busy_server_puts_off_is_tried_again_as_the_same_mail(post: Post, moody: MoodyMailServer) -> None:
    """A1: 4xx is no end; every attempt sends the same bytes, Message-ID included, so that a repetition shows."""
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


async def test_a_message_that_is_not_due_is_left_alone(post: Post, moody: MoodyMailServer) -> None:
    """A1: the pause between attempts is kept."""
    moody.answers.append(BUSY)
    message_id = await post.add()
    sender = post.sender(moody.url)
    await sender.send_next()
    message = await post.due(message_id)

    post.clock.advance(timedelta(microseconds=-1))
    assert message.due_time is not None
    assert message.due_time > BEGIN
    assert not await sender.send_next()


async def test_no_server_is_a_failure_that_passes(post: Post, moody: MoodyMailServer) -> None:
    """A1: while the mail server is down, messages wait."""
    message_id = await post.add()
    (port,) = free_ports(1)
    await post.sender(f"smtp://127.0.0.1:{port}").send_next()

    message = await post.due(message_id)
    assert (message.status, message.last_error) == (
        Status.FAILED,
        "The mail server could not be reached, or hung up.",
    )
    await post.sender(moody.url).send_next()
    assert (await post.store.find(message_id)).status is Status.SENT


async def test_a_server_that_turns_us_away_ends_no_message(post: Post, moody: MoodyMailServer) -> None:
    """A login that the server does not know is the operator's mistake: mail waits until it is put right."""
    message_id = await post.add()
    await post.sender(moody.url.replace("smtp://", "smtp://solo60:secret@")).send_next()

    message = await post.due(message_id)
    assert message.status is Status.FAILED
    assert "secret" not in message.last_error
    await post.sender(moody.url).send_next()
    assert (await post.store.find(message_id)).status is Status.SENT


async def test_what_a_server_refuses_is_dead_at_once(post: Post, moody: MoodyMailServer) -> None:
    """5xx is final: one attempt, and the message stands in the list of the failed."""
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


async def test_attempts_are_used_up_and_an_operator_gives_as_many_again(post: Post, moody: MoodyMailServer) -> None:
    """A1, A2: after the last attempt a message is dead but not lost; a retry counts from the beginning."""
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


async def test_a_killed_sender_is_succeeded_when_its_lease_is_over(post: Post, moody: MoodyMailServer) -> None:
    """T-g5: a message claimed by a sender that died is sent by another, not before its lease is over."""
    message_id = await post.add()
    assert await post.store.claim(post.clock.now()) is not None  # and then its process is killed

    sender = post.sender(moody.url)
    post.clock.advance(LEASE - timedelta(microseconds=1))
    assert not await sender.send_next()
    post.clock.advance(timedelta(microseconds=1))
    assert await sender.send_next()

    message = await post.store.find(message_id)
    assert (message.status, message.attempts) == (Status.SENT, 2)
    assert len(moody.accepted) == 1


async def test_a_sender_that_was_only_slow_records_nothing_over_its_successor(post: Post) -> None:
    """T-g5: what a paused sender says late is ignored, while its successor is at work and afterwards."""
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


async def test_senders_that_share_a_store_send_each_message_once(post: Post, moody: MoodyMailServer) -> None:
    """Several processes may run: none takes what another has, and none waits for another."""
    message_ids = [await post.add() for _ in range(40)]
    senders = [post.sender(moody.url) for _ in range(8)]

    async def work(sender: Sender) -> None:
        while await sender.send_next():
            pass

    await asyncio.gather(*map(work, senders))

    assert len(moody.received) == len({mail.content for mail in moody.received}) == 40
    assert {(await post.store.find(each)).attempts for each in message_ids} == {1}


async def test_a_message_being_claimed_does_not_hold_up_the_next(post: Post, moody: MoodyMailServer) -> None:
    """A row that another sender has locked is passed over."""
    first, second = await post.add(), await post.add()
    async with post.store.transaction() as other:
        await other.execute("select 1 from messages where message_id = $1 for update", first)
        assert await post.sender(moody.url).send_next()

    assert (await post.store.find(first)).status is Status.QUEUED
    assert (await post.store.find(second)).status is Status.SENT


async def test_of_several_recipients_only_those_put_off_are_tried_again(post: Post, moody: MoodyMailServer) -> None:
    """SendSystemNotification: nobody of an audience gets a notification twice because another was put off."""
    moody.refused[BOB] = BUSY
    message_id = await post.add(ADA, BOB)
    sender = post.sender(moody.url)
    await sender.send_next()
    assert (await post.due(message_id)).last_error == "The mail server refused 1 of 2 recipients with code 451 4.7.1."
    await sender.send_next()

    assert [mail.recipients for mail in moody.accepted] == [(ADA,), (BOB,)]
    assert (await post.store.find(message_id)).status is Status.SENT


async def test_a_message_is_sent_when_some_of_its_recipients_are_refused(post: Post, moody: MoodyMailServer) -> None:
    """SendSystemNotification: one address that is gone does not keep a notification from the others, and is told."""
    moody.refused[BOB] = UNKNOWN
    message_id = await post.add(ADA, BOB)
    await post.sender(moody.url).send_next()

    message = await post.store.find(message_id)
    assert (message.status, message.last_error) == (
        Status.SENT,
        "The mail server refused 1 of 2 recipients with code 550 5.1.1.",
    )


async def test_a_running_sender_sends_what_it_is_woken_for(post: Post, moody: MoodyMailServer) -> None:
    """A2: a new message is sent at once, in the background, and who watches it is told."""
    sender = post.sender(moody.url)
    async with sender.running():
        message_id = await post.add()
        with sender.watching(message_id) as attempted:
            sender.wake()
            async with asyncio.timeout(60):
                await attempted.wait()

    assert (await post.store.find(message_id)).status is Status.SENT


async def test_a_stopping_sender_finishes_what_it_began(
    post: Post, moody: MoodyMailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sender that is told to stop leaves no attempt half done."""
    # It waits no longer than that; a busy machine may need it.
    monkeypatch.setattr("services.communication.sender.STOP_PATIENCE_S", PATIENCE_S)
    message_ids = [await post.add() for _ in range(20)]
    async with post.sender(moody.url).running():
        await until(lambda: bool(moody.received))

    states = [(await post.store.find(each)).status for each in message_ids]
    assert set(states) <= {Status.QUEUED, Status.SENT}
    assert states.count(Status.SENT) == len(moody.accepted)


async def test_a_lost_database_does_not_end_the_sender(post: Post, moody: MoodyMailServer) -> None:
    """A sender outlives an outage of its database, and sends when it is back."""
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
