"""In doubt: what becomes of a mail of which nobody knows whether the mail server accepted it (RFC 1047)."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from typing import TYPE_CHECKING

import pytest

from services.communication.domain import LEASE, Outcome, Status, judge
from tests.services.communication.moody_mail_server import BUSY, HANG_UP
from tests.services.communication.patience import until
from tests.services.communication.post import ADA
from tests.support.eventually import eventually
from tests.support.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from tests.services.communication.moody_mail_server import MoodyMailServer
    from tests.services.communication.post import Post

NOT_REPEATED = "The mail may have been sent, and was not repeated."
CUT_OFF = f"The last attempt was cut off. {NOT_REPEATED}"
# With this patience an attempt may also end too early, on a busy machine; then another message is sent.
SHORT_PATIENCE_S = 0.5


def message_ids(moody: MoodyMailServer) -> list[str]:
    """Return the Message-ID of each mail that was offered."""
    return [message_from_bytes(mail.content)["Message-ID"] for mail in moody.received]


@contextmanager
def doomed_sender(post: Post, moody: MoodyMailServer) -> Iterator[subprocess.Popen[bytes]]:
    """Run a sender in a process that does not outlive the context."""
    module = "tests.services.communication.doomed_sender"
    with subprocess.Popen([sys.executable, "-m", module, post.url, moody.url]) as process:
        try:
            yield process
        finally:
            process.kill()


async def kill_between_answer_and_note(post: Post, moody: MoodyMailServer, message_id: UUID) -> None:
    """Have a process send a mail, and kill it when it has the mail server's answer and is about to note it."""
    moody.answering.clear()
    with doomed_sender(post, moody) as process:
        await until(lambda: bool(moody.received) or process.poll() is not None)
        async with post.store.transaction() as other:
            await other.execute("select from messages where message_id = $1 for update", message_id)
            moody.answering.set()
            await eventually(lambda: has_backends(post, "wait_event_type = 'Lock'"))
            process.kill()
            assert process.wait() < 0
    # What PostgreSQL still does for the dead, it takes back.
    await eventually(lambda: has_no_backends(post, "state <> 'idle' and pid <> pg_backend_pid()"))


async def has_backends(post: Post, condition: str) -> bool:
    """Whether PostgreSQL works for somebody on the database of the test."""
    query = f"select exists (select from pg_stat_activity where datname = current_database() and {condition})"  # noqa: S608 - ours
    async with post.database.connection() as connection:
        return bool(await connection.fetchval(query))


async def has_no_backends(post: Post, condition: str) -> bool:
    """Whether PostgreSQL works for nobody on the database of the test."""
    return not await has_backends(post, condition)


@pytest.mark.parametrize(("repeats_in_doubt", "copies"), [(True, 2), (False, 1)])
async def test_after_a_kill_between_answer_and_note_only_what_may_come_twice_does(
    post: Post, moody: MoodyMailServer, *, repeats_in_doubt: bool, copies: int
) -> None:
    """T-h8: killed before it noted the answer, `repeat` comes again under one Message-ID, `give up` ends as DEAD."""
    post.clock.time = datetime.now(UTC)
    message_id = await post.add(repeats_in_doubt=repeats_in_doubt)
    await kill_between_answer_and_note(post, moody, message_id)
    assert (await post.due(message_id)).status is Status.SENDING

    assert await post.sender(moody.url).send_next()
    assert not await post.sender(moody.url).send_next()

    message = await post.store.find(message_id)
    assert message_ids(moody) == [message.email_message_id] * copies
    assert len(moody.accepted) == copies
    expected = (Status.SENT, 2, "") if repeats_in_doubt else (Status.DEAD, 1, CUT_OFF)
    assert (message.status, message.attempts, message.last_error) == expected


async def test_what_may_have_been_sent_is_given_up_when_the_lease_is_over_and_not_before(
    post: Post, moody: MoodyMailServer
) -> None:
    """T-g5: until then its sender may be at work, and afterwards an operator may still have it sent."""
    message_id = await post.add(repeats_in_doubt=False)
    await post.store.claim(post.clock.now())  # and then its process is killed
    sender = post.sender(moody.url)

    post.clock.advance(LEASE - timedelta(microseconds=1))
    assert not await sender.send_next()
    post.clock.advance(timedelta(microseconds=1))
    assert await sender.send_next()

    given_up = await post.store.find(message_id)
    assert (given_up.last_error, given_up.may_have_been_sent) == (CUT_OFF, True)
    assert moody.received == []
    async with post.store.transaction() as transaction:
        assert not (await post.store.requeue(transaction, message_id, post.clock.now())).may_have_been_sent
    assert await sender.send_next()
    assert (await post.store.find(message_id)).status is Status.SENT


async def test_a_sender_that_was_only_slow_may_say_how_it_ended_until_its_message_is_given_up(post: Post) -> None:
    """T-g5: the doubt ends when the truth comes in time; later it changes nothing."""
    first, second = [await post.add(repeats_in_doubt=False) for _ in range(2)]
    now = post.clock.now()
    slow = [await post.store.claim(now) for _ in range(2)]
    lost = [await post.store.claim(now + LEASE) for _ in range(2)]
    attempts = {each.message_id: each for each in slow if each}
    judged = {each.message_id: each for each in lost if each}
    given_up = {key: judge(each, Outcome.of_lost(each), now, post.rng) for key, each in judged.items()}

    assert [each.is_lost for each in (*attempts.values(), *judged.values())] == [False, False, True, True]
    assert await post.store.settle(attempts[first], judge(attempts[first], Outcome(), now, post.rng), now)
    assert not await post.store.settle(judged[first], given_up[first], now)
    assert await post.store.settle(judged[second], given_up[second], now)
    assert not await post.store.settle(attempts[second], judge(attempts[second], Outcome(), now, post.rng), now)

    states = [(await post.store.find(each)).status for each in (first, second)]
    assert states == [Status.SENT, Status.DEAD]


@pytest.mark.parametrize(
    ("repeats_in_doubt", "status", "error"),
    [
        (True, Status.FAILED, "The mail server could not be reached, or hung up."),
        (False, Status.DEAD, f"The mail server could not be reached, or hung up. {NOT_REPEATED}"),
    ],
)
async def test_a_server_that_hangs_up_in_place_of_its_answer_leaves_a_doubt(
    post: Post, moody: MoodyMailServer, *, repeats_in_doubt: bool, status: Status, error: str
) -> None:
    """RFC 1047: who has the whole mail may have accepted it, whether or not its answer arrives."""
    moody.answers.append(HANG_UP)
    message_id = await post.add(repeats_in_doubt=repeats_in_doubt)
    await post.sender(moody.url).send_next()

    message = await post.store.find(message_id)
    assert (message.status, message.last_error) == (status, error)


async def test_a_server_that_takes_a_mail_and_falls_silent_leaves_a_doubt(post: Post, moody: MoodyMailServer) -> None:
    """RFC 1047: a time limit tells as little as a lost connection."""
    moody.answering.clear()
    sender = post.sender(moody.url, patience_s=SHORT_PATIENCE_S)
    while not moody.received:
        message_id = await post.add(repeats_in_doubt=False)
        assert await sender.send_next()

    message = await post.store.find(message_id)
    assert (message.status, len(moody.received)) == (Status.DEAD, 1)
    assert message.last_error == f"The mail server did not answer in time. {NOT_REPEATED}"


@pytest.mark.parametrize("trouble", ["no server", "hung up on the recipient", "recipient put off", "mail put off"])
async def test_what_was_certainly_not_sent_is_tried_again_in_any_case(
    post: Post, moody: MoodyMailServer, trouble: str
) -> None:
    """A1: a definite answer, or an end before the mail was handed over, leaves no doubt."""
    url = f"smtp://127.0.0.1:{free_ports(1)[0]}" if trouble == "no server" else moody.url
    if trouble.endswith("recipient") or trouble.startswith("recipient"):
        moody.refused[ADA] = HANG_UP if trouble.startswith("hung up") else BUSY
    if trouble == "mail put off":
        moody.answers.append(BUSY)
    message_id = await post.add(repeats_in_doubt=False)

    await post.sender(url).send_next()
    assert (await post.due(message_id)).status is Status.FAILED
    await post.sender(moody.url).send_next()

    assert (await post.store.find(message_id)).status is Status.SENT
    assert len(moody.accepted) == 1
