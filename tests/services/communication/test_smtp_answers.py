from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from services.communication.domain import MAX_ATTEMPTS, MessageStatus
from services.communication.sender import MAIL_SERVER_TROUBLE
from tests.services.communication.faulty_mail_server import UNKNOWN
from tests.services.communication.mail_fixture import ADA, BOB, send_next
from tests.services.communication.scripted_mail_server import CONNECT, MAIL_BODY, ScriptedMailServer
from tests.support.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.services.communication.mail_fixture import MailFixture

# Step of SMTP, answer, status of the message after one attempt, and whether operators are alerted.
ANSWERS = [
    (CONNECT, "421 4.3.2 too busy", MessageStatus.FAILED, False),
    (CONNECT, "554 5.7.1 your address is on a list", MessageStatus.FAILED, True),
    (CONNECT, "521 5.3.2 takes no mail", MessageStatus.FAILED, True),
    ("EHLO", "550 5.7.1 who are you", MessageStatus.FAILED, True),
    ("AUTH", "454 4.7.0 not now", MessageStatus.FAILED, True),
    ("AUTH", "534 5.7.9 too weak", MessageStatus.FAILED, True),
    ("AUTH", "535 5.7.8 wrong password", MessageStatus.FAILED, True),
    ("AUTH", "535 wrong password", MessageStatus.FAILED, True),
    ("AUTH", "538 5.7.11 encrypt first", MessageStatus.FAILED, True),
    ("MAIL", "421 4.3.2 shutting down", MessageStatus.FAILED, False),
    ("MAIL", "451 4.3.0 not now", MessageStatus.FAILED, False),
    ("MAIL", "530 5.7.0 authenticate first", MessageStatus.FAILED, True),
    ("MAIL", "530 authenticate first", MessageStatus.FAILED, True),
    ("MAIL", "535 5.7.8 session expired", MessageStatus.FAILED, True),
    ("MAIL", "550 5.4.5 daily limit wait_for_status", MessageStatus.FAILED, True),
    ("MAIL", "550 5.7.1 sender not yours", MessageStatus.FAILED, True),
    ("MAIL", "550 sender unknown", MessageStatus.FAILED, True),
    ("MAIL", "553 5.1.8 no such sender domain", MessageStatus.FAILED, True),
    ("MAIL", "555 5.5.4 parameter unknown", MessageStatus.FAILED, True),
    ("MAIL", "552 5.3.4 too large", MessageStatus.DEAD, False),
    ("MAIL", "552 too large", MessageStatus.DEAD, False),
    ("RCPT", "450 4.2.1 greylisted", MessageStatus.FAILED, False),
    ("RCPT", "452 4.5.3 too many", MessageStatus.FAILED, False),
    ("RCPT", "550 5.1.1 no such user", MessageStatus.DEAD, False),
    ("RCPT", "550 no such user", MessageStatus.DEAD, False),
    ("RCPT", "501 5.1.3 bad address", MessageStatus.DEAD, False),
    ("RCPT", "552 5.2.2 mailbox full", MessageStatus.DEAD, False),
    ("RCPT", "553 5.1.2 bad domain", MessageStatus.DEAD, False),
    ("RCPT", "556 5.1.10 takes no mail", MessageStatus.DEAD, False),
    ("RCPT", "530 5.7.0 authenticate first", MessageStatus.FAILED, True),
    ("RCPT", "550 5.7.1 relaying denied", MessageStatus.FAILED, True),
    ("RCPT", "550 5.4.1 access denied", MessageStatus.FAILED, True),
    ("RCPT", "503 5.5.1 bad sequence", MessageStatus.FAILED, True),
    ("DATA", "451 4.3.0 not now", MessageStatus.FAILED, False),
    ("DATA", "530 5.7.0 authenticate first", MessageStatus.FAILED, True),
    ("DATA", "554 5.5.1 no valid recipients", MessageStatus.DEAD, False),
    (MAIL_BODY, "452 4.3.1 disk full", MessageStatus.FAILED, False),
    (MAIL_BODY, "550 5.7.26 not signed", MessageStatus.FAILED, True),
    (MAIL_BODY, "550 5.4.6 loop", MessageStatus.FAILED, True),
    (MAIL_BODY, "552 5.3.4 too large", MessageStatus.DEAD, False),
    (MAIL_BODY, "554 5.6.0 malformed", MessageStatus.DEAD, False),
    (MAIL_BODY, "554 rejected", MessageStatus.DEAD, False),
]


@pytest.fixture
async def scripted() -> AsyncIterator[ScriptedMailServer]:
    """Run a mail server that follows a script."""
    async with ScriptedMailServer() as server:
        yield server


@pytest.mark.parametrize(("step", "answer", "status", "is_alarming"), ANSWERS)
async def test_an_smtp_answer_decides_status_and_alert(
    mails: MailFixture,
    scripted: ScriptedMailServer,
    step: str,
    answer: str,
    status: MessageStatus,
    *,
    is_alarming: bool,
) -> None:
    """A refusal of the sender ends no message and alerts operators; a refusal of mail or recipient ends the message."""
    scripted.answers[step] = answer
    if step == "EHLO":
        scripted.answers["HELO"] = answer
    message_id = await mails.add()

    assert await send_next(mails.new_sender(scripted.url))

    message = await mails.store.find(message_id)
    assert (message.status, message.is_refused) == (status, status is MessageStatus.DEAD)
    assert answer[:3] in message.last_error
    assert mails.troubles == ({MAIL_SERVER_TROUBLE} if is_alarming else set())
    assert mails.registry.get_sample_value("mail_server_trouble") == is_alarming


async def test_mail_waits_until_the_login_is_fixed(mails: MailFixture, scripted: ScriptedMailServer) -> None:
    """While the login is rejected, messages are retried and none is lost; the next accepted mail ends the alert."""
    scripted.answers["MAIL"] = "530 5.7.0 authenticate first"
    message_ids = [await mails.add() for _ in range(3)]
    sender = mails.new_sender(scripted.url)
    for _ in range(MAX_ATTEMPTS - 1):
        for message_id in message_ids:
            await mails.advance_to_due(message_id)
            assert await send_next(sender)
    assert mails.troubles == {MAIL_SERVER_TROUBLE}
    message = await mails.store.find(message_ids[0])
    assert message.last_error == "The mail server rejected this service with code 530 5.7.0."

    scripted.answers.clear()
    mails.clock.advance(timedelta(hours=1))
    while await send_next(sender):
        pass

    assert {(await mails.store.find(each)).status for each in message_ids} == {MessageStatus.SENT}
    assert mails.troubles == set()
    assert mails.registry.get_sample_value("mail_server_trouble") == 0


async def test_an_unreachable_server_alerts_operators(mails: MailFixture) -> None:
    """A mail server that cannot be reached is reported to operators."""
    (port,) = free_ports(1)
    await mails.add()

    await send_next(mails.new_sender(f"smtp://127.0.0.1:{port}"))

    assert mails.troubles == {MAIL_SERVER_TROUBLE}


async def test_a_server_without_tls_is_reported_as_such(mails: MailFixture, scripted: ScriptedMailServer) -> None:
    """A failed TLS handshake is reported as a missing encrypted connection, not as an unreachable server."""
    message_id = await mails.add()

    await send_next(mails.new_sender(f"smtps://127.0.0.1:{scripted.port}"))

    message = await mails.store.find(message_id)
    assert message.last_error.startswith("The TLS connection to the mail server failed")
    assert mails.troubles == {MAIL_SERVER_TROUBLE}


async def test_one_refused_recipient_of_several_does_not_alert(
    mails: MailFixture, scripted: ScriptedMailServer
) -> None:
    """A recipient refused next to an accepted one causes no alert, because the server accepts the sender."""
    scripted.answers[f"RCPT TO:<{BOB}>"] = "550 5.7.1 takes no mail of strangers"
    message_id = await mails.add(ADA, BOB)

    await send_next(mails.new_sender(scripted.url))

    message = await mails.store.find(message_id)
    assert (message.status, message.last_error) == (
        MessageStatus.SENT,
        "The mail server refused 1 of 2 recipients with code 550 5.7.1.",
    )
    assert mails.troubles == set()


@pytest.mark.parametrize(
    ("email", "wire"),
    [
        ("a..b@docomo.ne.jp", '"a..b"@docomo.ne.jp'),
        (".a@docomo.ne.jp", '".a"@docomo.ne.jp'),
        ('"a b"@example.org', '"a b"@example.org'),
        ('"a@b"@example.org', '"a@b"@example.org'),
        ("user@bücher.example", "user@xn--bcher-kva.example"),
    ],
)
async def test_an_address_is_sent_in_smtp_syntax(
    mails: MailFixture, scripted: ScriptedMailServer, email: str, wire: str
) -> None:
    """A recipient's address is quoted where its local part requires it, and its domain is in ASCII (RFC 5321)."""
    message_id = await mails.add(email)

    await send_next(mails.new_sender(scripted.url))

    assert (await mails.store.find(message_id)).status is MessageStatus.SENT
    assert f"RCPT TO:<{wire}>" in scripted.commands


async def test_a_refusal_does_not_store_the_address(mails: MailFixture, scripted: ScriptedMailServer) -> None:
    """The stored error of a refusal contains the code alone, although the server's answer repeats the address."""
    scripted.answers["RCPT"] = UNKNOWN
    message_id = await mails.add()

    await send_next(mails.new_sender(scripted.url))

    assert (await mails.store.find(message_id)).last_error == (
        "The mail server refused 1 of 1 recipients with code 550 5.1.1."
    )
