from __future__ import annotations

import asyncio
import logging
import re
from datetime import UTC, datetime
from email.message import EmailMessage
from typing import TYPE_CHECKING

import aiosmtplib
import pytest

from local.mail_sink import MailSink, MailSinkError, read_mails
from tests.support.small_disk import fill, make_room, small_disk

if TYPE_CHECKING:
    from pathlib import Path

SENDER, RECIPIENT = "no-reply@solo60.example", "ada@example.org"


async def put(
    mail_sink: MailSink, subject: str, body: str = "Hello", recipients: tuple[str, ...] = (RECIPIENT,)
) -> None:
    """Send a mail to the mail sink."""
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"], mail["Message-ID"] = SENDER, RECIPIENT, subject, "<1@test>"
    mail.set_content(body)
    await aiosmtplib.send(mail, hostname="127.0.0.1", port=mail_sink.port, recipients=recipients, timeout=10)


async def test_a_mail_is_stored_unchanged(tmp_path: Path) -> None:
    """A mail is read back unchanged, in any alphabet, with every recipient of its envelope."""
    began = datetime.now(UTC)
    async with MailSink(tmp_path / "mail", port=0) as mail_sink:
        await put(mail_sink, "Grüße", ".\nTrain at 18:00 — 東京\n", (RECIPIENT, "bob@example.org"))

    (mail,) = read_mails(tmp_path / "mail")
    assert (mail.sender, mail.recipient) == (SENDER, f"{RECIPIENT}, bob@example.org")
    assert (mail.subject, mail.message_id) == ("Grüße", "<1@test>")
    assert mail.body == ".\nTrain at 18:00 — 東京\n"
    assert began <= mail.received <= datetime.now(UTC)


async def test_mail_outlives_the_inbox_and_is_read_in_order(tmp_path: Path) -> None:
    """Mails outlive the mail sink and are read in order of arrival. A folder without mail is empty, not an error."""
    assert read_mails(tmp_path) == []
    for subject in ("first", "second", "third"):
        async with MailSink(tmp_path, port=0) as mail_sink:
            await put(mail_sink, subject)

    assert [mail.subject for mail in read_mails(tmp_path)] == ["first", "second", "third"]


async def test_concurrent_mails_are_all_stored(tmp_path: Path) -> None:
    """Mails that are sent at the same time are all stored."""
    subjects = [f"mail-{number:02}" for number in range(20)]
    async with MailSink(tmp_path, port=0) as mail_sink:
        await asyncio.gather(*(put(mail_sink, subject) for subject in subjects))

    assert sorted(mail.subject for mail in read_mails(tmp_path)) == subjects


async def test_the_error_for_a_port_in_use_is_one_sentence(tmp_path: Path) -> None:
    """The error for a port in use names the address and the reason in one sentence."""
    async with MailSink(tmp_path, port=0) as mail_sink:
        sentence = f"SMTP_URL: the mail sink cannot listen on 127.0.0.1:{mail_sink.port}: Address already in use. "
        with pytest.raises(MailSinkError, match=re.escape(sentence)):
            await MailSink(tmp_path, port=mail_sink.port).__aenter__()


async def test_closing_does_not_wait_for_idle_clients(tmp_path: Path) -> None:
    """Closing the mail sink disconnects idle clients and frees its port."""
    async with MailSink(tmp_path, port=0) as mail_sink:
        port = mail_sink.port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert (await reader.readline()).startswith(b"220 ")

    assert await reader.read() == b""
    writer.close()
    async with MailSink(tmp_path, port=port):
        pass


@pytest.mark.requirement("S4")
async def test_no_address_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The mail sink does not log the address of a recipient."""
    caplog.set_level(logging.INFO)
    async with MailSink(tmp_path, port=0) as mail_sink:
        await put(mail_sink, "secret")

    assert RECIPIENT not in caplog.text


async def test_mail_may_be_sent_again_after_a_full_disk(reachable_folder: Path) -> None:
    """On a full disk the mail sink answers 452, which permits a retry, and leaves no temporary file."""
    with small_disk(reachable_folder / "mail", 1) as disk:
        async with MailSink(disk, port=0) as mail_sink:
            await asyncio.to_thread(fill, disk)
            with pytest.raises(aiosmtplib.SMTPDataError, match="No space left on device") as refused:
                await put(mail_sink, "Hello")
            assert refused.value.code == 452
            await asyncio.to_thread(make_room, disk)
            await put(mail_sink, "Hello again")

        assert [mail.subject for mail in read_mails(disk)] == ["Hello again"]
        assert not any((disk / "tmp").iterdir())
