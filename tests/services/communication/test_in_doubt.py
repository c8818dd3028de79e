"""Mails in doubt: it is unknown whether the mail server accepted them (RFC 1047)."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from typing import TYPE_CHECKING

import pytest

from services.communication.domain import LEASE, MessageStatus, SmtpOutcome, state_after
from tests.services.communication.faulty_mail_server import BUSY, HANG_UP
from tests.services.communication.mail_fixture import ADA, send_next
from tests.support.eventually import eventually
from tests.support.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from tests.services.communication.faulty_mail_server import FaultyMailServer
    from tests.services.communication.mail_fixture import MailFixture

NOT_REPEATED = "The mail may have been sent, so it was not sent again."
INTERRUPTED = f"The last attempt was interrupted. {NOT_REPEATED}"
# With so short a timeout, an attempt may end before the mail is sent. The test then adds another message.
SHORT_TIMEOUT_S = 0.5


def message_ids(faulty: FaultyMailServer) -> list[str]:
    """Return the Message-ID of each mail that was offered."""
    return [message_from_bytes(mail.content)["Message-ID"] for mail in faulty.received]


@contextmanager
def killed_sender(mails: MailFixture, faulty: FaultyMailServer) -> Iterator[subprocess.Popen[bytes]]:
    """Run a sender in a process that is killed at the end of the context."""
    module = "tests.services.communication.killed_sender"
    with subprocess.Popen([sys.executable, "-m", module, mails.url, faulty.url]) as process:
        try:
            yield process
        finally:
            process.kill()


async def kill_before_recording(mails: MailFixture, faulty: FaultyMailServer, message_id: UUID) -> None:
    """Send a mail from another process, and kill that process after the server's answer, before it is recorded."""
    faulty.answering.clear()
    with killed_sender(mails, faulty) as process:
        await eventually(lambda: bool(faulty.received) or process.poll() is not None)
        async with mails.store.transaction() as other:
            await other.connection.execute("select from messages where message_id = $1 for update", message_id)
            faulty.answering.set()
            await eventually(lambda: has_backends(mails, "wait_event_type = 'Lock'"))
            process.kill()
            assert process.wait() < 0
    # PostgreSQL rolls back the statement of a killed client.
    await eventually(lambda: has_no_backends(mails, "state <> 'idle' and pid <> pg_backend_pid()"))


async def has_backends(mails: MailFixture, condition: str) -> bool:
    """Return whether a backend on the test's database meets the condition."""
    query = f"select exists (select from pg_stat_activity where datname = current_database() and {condition})"  # noqa: S608 - constant conditions
    async with mails.database.connection() as connection:
        return bool(await connection.fetchval(query))


async def has_no_backends(mails: MailFixture, condition: str) -> bool:
    """Return whether no backend on the test's database meets the condition."""
    return not await has_backends(mails, condition)


@pytest.mark.parametrize(("repeats_in_doubt", "copies"), [(True, 2), (False, 1)])
async def test_a_mail_is_repeated_after_a_kill_only_if_its_template_allows(
    mails: MailFixture, faulty: FaultyMailServer, *, repeats_in_doubt: bool, copies: int
) -> None:
    """After a kill before the answer is recorded, a mail that may repeat is sent again with the same Message-ID.

    Any other mail ends as DEAD.
    """
    mails.clock.time = datetime.now(UTC)
    message_id = await mails.add(repeats_in_doubt=repeats_in_doubt)
    await kill_before_recording(mails, faulty, message_id)
    assert (await mails.advance_to_due(message_id)).status is MessageStatus.SENDING

    assert await send_next(mails.new_sender(faulty.url))
    assert not await send_next(mails.new_sender(faulty.url))

    message = await mails.store.find(message_id)
    assert message_ids(faulty) == [message.email_message_id] * copies
    assert len(faulty.accepted) == copies
    expected = (MessageStatus.SENT, 2, "") if repeats_in_doubt else (MessageStatus.DEAD, 1, INTERRUPTED)
    assert (message.status, message.attempts, message.last_error) == expected


async def test_a_mail_in_doubt_is_given_up_only_when_the_lease_expires(
    mails: MailFixture, faulty: FaultyMailServer
) -> None:
    """A mail in doubt is given up when its lease expires and not before. An operator can still retry such a mail."""
    message_id = await mails.add(repeats_in_doubt=False)
    await mails.store.claim(mails.clock.now())  # then its process is killed
    sender = mails.new_sender(faulty.url)

    mails.clock.advance(LEASE - timedelta(microseconds=1))
    assert not await send_next(sender)
    mails.clock.advance(timedelta(microseconds=1))
    assert await send_next(sender)

    given_up = await mails.store.find(message_id)
    assert (given_up.last_error, given_up.may_have_been_sent) == (INTERRUPTED, True)
    assert faulty.received == []
    async with mails.store.transaction() as tx:
        assert not (await mails.store.requeue(tx, message_id, mails.clock.now())).may_have_been_sent
    assert await send_next(sender)
    assert (await mails.store.find(message_id)).status is MessageStatus.SENT


async def test_a_slow_sender_may_record_its_result_until_the_message_is_given_up(mails: MailFixture) -> None:
    """A late result is recorded if the message has not been given up, and ignored afterwards."""
    first, second = [await mails.add(repeats_in_doubt=False) for _ in range(2)]
    now = mails.clock.now()
    slow = [await mails.store.claim(now) for _ in range(2)]
    lost = [await mails.store.claim(now + LEASE) for _ in range(2)]
    attempts = {each.message_id: each for each in slow if each}
    judged = {each.message_id: each for each in lost if each}
    given_up = {key: state_after(each, SmtpOutcome.of_lost(each), now, mails.rng) for key, each in judged.items()}

    assert [each.is_lost for each in (*attempts.values(), *judged.values())] == [False, False, True, True]
    assert await mails.store.settle(attempts[first], state_after(attempts[first], SmtpOutcome(), now, mails.rng), now)
    assert not await mails.store.settle(judged[first], given_up[first], now)
    assert await mails.store.settle(judged[second], given_up[second], now)
    assert not await mails.store.settle(
        attempts[second], state_after(attempts[second], SmtpOutcome(), now, mails.rng), now
    )

    states = [(await mails.store.find(each)).status for each in (first, second)]
    assert states == [MessageStatus.SENT, MessageStatus.DEAD]


@pytest.mark.parametrize(
    ("repeats_in_doubt", "status", "error"),
    [
        (True, MessageStatus.FAILED, "The mail server is unreachable or closed the connection."),
        (False, MessageStatus.DEAD, f"The mail server is unreachable or closed the connection. {NOT_REPEATED}"),
    ],
)
async def test_a_mail_is_in_doubt_if_the_server_hangs_up_instead_of_answering(
    mails: MailFixture, faulty: FaultyMailServer, *, repeats_in_doubt: bool, status: MessageStatus, error: str
) -> None:
    """A mail is in doubt if the server hangs up after receiving it: the server may have accepted it (RFC 1047)."""
    faulty.answers.append(HANG_UP)
    message_id = await mails.add(repeats_in_doubt=repeats_in_doubt)
    await send_next(mails.new_sender(faulty.url))

    message = await mails.store.find(message_id)
    assert (message.status, message.last_error) == (status, error)


async def test_a_mail_is_in_doubt_if_the_server_does_not_answer_in_time(
    mails: MailFixture, faulty: FaultyMailServer
) -> None:
    """A mail is in doubt if the server receives it and does not answer in time (RFC 1047)."""
    faulty.answering.clear()
    sender = mails.new_sender(faulty.url, timeout_s=SHORT_TIMEOUT_S)
    while not faulty.received:
        message_id = await mails.add(repeats_in_doubt=False)
        assert await send_next(sender)

    message = await mails.store.find(message_id)
    assert (message.status, len(faulty.received)) == (MessageStatus.DEAD, 1)
    assert message.last_error == f"The mail server did not answer in time. {NOT_REPEATED}"


@pytest.mark.requirement("A1")
@pytest.mark.parametrize("trouble", ["no server", "hung up on the recipient", "recipient put off", "mail put off"])
async def test_a_mail_that_was_certainly_not_sent_is_retried(
    mails: MailFixture, faulty: FaultyMailServer, trouble: str
) -> None:
    """A failure before the mail is handed over, or a temporary refusal, is retried even if the mail must not repeat."""
    url = f"smtp://127.0.0.1:{free_ports(1)[0]}" if trouble == "no server" else faulty.url
    if trouble.endswith("recipient") or trouble.startswith("recipient"):
        faulty.refused[ADA] = HANG_UP if trouble.startswith("hung up") else BUSY
    if trouble == "mail put off":
        faulty.answers.append(BUSY)
    message_id = await mails.add(repeats_in_doubt=False)

    await send_next(mails.new_sender(url))
    assert (await mails.advance_to_due(message_id)).status is MessageStatus.FAILED
    await send_next(mails.new_sender(faulty.url))

    assert (await mails.store.find(message_id)).status is MessageStatus.SENT
    assert len(faulty.accepted) == 1
