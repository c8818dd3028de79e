"""Mails in doubt: it is unknown whether the mail server accepted them (RFC 1047)."""

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

NOT_REPEATED = "The mail may have been sent, so it was not sent again."
CUT_OFF = f"The last attempt was interrupted. {NOT_REPEATED}"
# With so short a patience, a slow machine may end an attempt before the mail is sent. The test then repeats it.
SHORT_PATIENCE_S = 0.5


def message_ids(moody: MoodyMailServer) -> list[str]:
    """Return the Message-ID of each mail that was offered."""
    return [message_from_bytes(mail.content)["Message-ID"] for mail in moody.received]


@contextmanager
def doomed_sender(post: Post, moody: MoodyMailServer) -> Iterator[subprocess.Popen[bytes]]:
    """Run a sender in a process that is killed at the end of the context."""
    module = "tests.services.communication.doomed_sender"
    with subprocess.Popen([sys.executable, "-m", module, post.url, moody.url]) as process:
        try:
            yield process
        finally:
            process.kill()


async def kill_before_recording(post: Post, moody: MoodyMailServer, message_id: UUID) -> None:
    """Send a mail from another process, and kill it after the server's answer, before it records that answer."""
    moody.answering.clear()
    with doomed_sender(post, moody) as process:
        await until(lambda: bool(moody.received) or process.poll() is not None)
        async with post.store.transaction() as other:
            await other.execute("select from messages where message_id = $1 for update", message_id)
            moody.answering.set()
            await eventually(lambda: has_backends(post, "wait_event_type = 'Lock'"))
            process.kill()
            assert process.wait() < 0
    # PostgreSQL rolls back the statement of a killed client.
    await eventually(lambda: has_no_backends(post, "state <> 'idle' and pid <> pg_backend_pid()"))


async def has_backends(post: Post, condition: str) -> bool:
    """Return whether a backend on the test's database meets the condition."""
    query = f"select exists (select from pg_stat_activity where datname = current_database() and {condition})"  # noqa: S608 - constant conditions
    async with post.database.connection() as connection:
        return bool(await connection.fetchval(query))


async def has_no_backends(post: Post, condition: str) -> bool:
    """Return whether no backend on the test's database meets the condition."""
    return not await has_backends(post, condition)


@pytest.mark.parametrize(("repeats_in_doubt", "copies"), [(True, 2), (False, 1)])
async def test_a_mail_is_repeated_after_a_kill_only_if_its_template_allows(
    post: Post, moody: MoodyMailServer, *, repeats_in_doubt: bool, copies: int
) -> None:
    """After a kill before the answer is recorded, a mail that may repeat is sent again with the same Message-ID.

    Any other mail ends as DEAD.
    """
    post.clock.time = datetime.now(UTC)
    message_id = await post.add(repeats_in_doubt=repeats_in_doubt)
    await kill_before_recording(post, moody, message_id)
    assert (await post.due(message_id)).status is Status.SENDING

    assert await post.sender(moody.url).send_next()
    assert not await post.sender(moody.url).send_next()

    message = await post.store.find(message_id)
    assert message_ids(moody) == [message.email_message_id] * copies
    assert len(moody.accepted) == copies
    expected = (Status.SENT, 2, "") if repeats_in_doubt else (Status.DEAD, 1, CUT_OFF)
    assert (message.status, message.attempts, message.last_error) == expected


async def test_a_mail_in_doubt_is_given_up_only_when_the_lease_expires(post: Post, moody: MoodyMailServer) -> None:
    """A mail in doubt is given up when its lease expires and not before. An operator can still retry it."""
    message_id = await post.add(repeats_in_doubt=False)
    await post.store.claim(post.clock.now())  # then its process is killed
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


async def test_a_slow_sender_may_record_its_result_until_the_message_is_given_up(post: Post) -> None:
    """A late result is recorded if the message has not been given up, and ignored afterwards."""
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
        (True, Status.FAILED, "The mail server is unreachable or closed the connection."),
        (False, Status.DEAD, f"The mail server is unreachable or closed the connection. {NOT_REPEATED}"),
    ],
)
async def test_a_server_that_hangs_up_instead_of_answering_leaves_a_doubt(
    post: Post, moody: MoodyMailServer, *, repeats_in_doubt: bool, status: Status, error: str
) -> None:
    """A mail is in doubt if the server hangs up after receiving it: the server may have accepted it (RFC 1047)."""
    moody.answers.append(HANG_UP)
    message_id = await post.add(repeats_in_doubt=repeats_in_doubt)
    await post.sender(moody.url).send_next()

    message = await post.store.find(message_id)
    assert (message.status, message.last_error) == (status, error)


async def test_a_server_that_receives_a_mail_and_does_not_answer_leaves_a_doubt(
    post: Post, moody: MoodyMailServer
) -> None:
    """A mail is in doubt if the server receives it and does not answer in time (RFC 1047)."""
    moody.answering.clear()
    message_id = await post.add(repeats_in_doubt=False)
    sender = post.sender(moody.url, patience_s=SHORT_PATIENCE_S)
    while not moody.received:
        await post.due(message_id)
        assert await sender.send_next()

    message = await post.store.find(message_id)
    assert (message.status, len(moody.received)) == (Status.DEAD, 1)
    assert message.last_error == f"The mail server did not answer in time. {NOT_REPEATED}"


@pytest.mark.requirement("A1")
@pytest.mark.parametrize("trouble", ["no server", "hung up on the recipient", "recipient put off", "mail put off"])
async def test_a_mail_that_was_certainly_not_sent_is_retried(post: Post, moody: MoodyMailServer, trouble: str) -> None:
    """A failure before the mail is handed over, or a temporary refusal, is retried even if the mail must not repeat."""
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
