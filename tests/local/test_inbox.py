from __future__ import annotations

import asyncio
import logging
import re
from datetime import UTC, datetime
from email.message import EmailMessage
from typing import TYPE_CHECKING

import aiosmtplib
import pytest

from local.inbox import Inbox, InboxError, read_inbox
from tests.support.small_disk import fill, make_room, small_disk

if TYPE_CHECKING:
    from pathlib import Path

SENDER, RECIPIENT = "no-reply@solo60.example", "ada@example.org"


async def put(inbox: Inbox, subject: str, body: str = "Hello", recipients: tuple[str, ...] = (RECIPIENT,)) -> None:
    """Send a mail to the inbox."""
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"], mail["Message-ID"] = SENDER, RECIPIENT, subject, "<1@test>"
    mail.set_content(body)
    await aiosmtplib.send(mail, hostname="127.0.0.1", port=inbox.port, recipients=recipients, timeout=10)


async def test_a_mail_is_stored_unchanged(tmp_path: Path) -> None:
    """A mail is read back unchanged, in any alphabet, with every recipient of its envelope."""
    began = datetime.now(UTC)
    async with Inbox(tmp_path / "mail", port=0) as inbox:
        await put(inbox, "Grüße", ".\nTrain at 18:00 — 東京\n", (RECIPIENT, "bob@example.org"))

    (mail,) = read_inbox(tmp_path / "mail")
    assert (mail.sender, mail.recipient) == (SENDER, f"{RECIPIENT}, bob@example.org")
    assert (mail.subject, mail.message_id) == ("Grüße", "<1@test>")
    assert mail.body == ".\nTrain at 18:00 — 東京\n"
    assert began <= mail.received <= datetime.now(UTC)


async def test_mail_outlives_the_inbox_and_is_read_in_order(tmp_path: Path) -> None:
    """Mails outlive the inbox and are read in the order of arrival. A folder without mail is empty, not an error."""
    assert read_inbox(tmp_path) == []
    for subject in ("first", "second", "third"):
        async with Inbox(tmp_path, port=0) as inbox:
            await put(inbox, subject)

    assert [mail.subject for mail in read_inbox(tmp_path)] == ["first", "second", "third"]


async def test_concurrent_mails_are_all_stored(tmp_path: Path) -> None:
    """Mails that are sent at the same time are all stored."""
    subjects = [f"mail-{number:02}" for number in range(20)]
    async with Inbox(tmp_path, port=0) as inbox:
        await asyncio.gather(*(put(inbox, subject) for subject in subjects))

    assert sorted(mail.subject for mail in read_inbox(tmp_path)) == subjects


async def test_the_error_for_a_port_in_use_is_one_sentence(tmp_path: Path) -> None:
    """The error for a port in use names the address and the reason in one sentence."""
    async with Inbox(tmp_path, port=0) as inbox:
        sentence = f"The inbox cannot listen on 127.0.0.1:{inbox.port}: Address already in use."
        with pytest.raises(InboxError, match=re.escape(sentence)):
            await Inbox(tmp_path, port=inbox.port).__aenter__()


async def test_closing_does_not_wait_for_idle_clients(tmp_path: Path) -> None:
    """Closing the inbox disconnects idle clients and frees its port."""
    async with Inbox(tmp_path, port=0) as inbox:
        port = inbox.port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert (await reader.readline()).startswith(b"220 ")

    assert await reader.read() == b""
    writer.close()
    async with Inbox(tmp_path, port=port):
        pass


@pytest.mark.requirement("S4")
async def test_no_address_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The inbox does not log the address of a recipient."""
    caplog.set_level(logging.INFO)
    async with Inbox(tmp_path, port=0) as inbox:
        await put(inbox, "secret")

    assert RECIPIENT not in caplog.text


async def test_mail_may_be_sent_again_after_a_full_disk(reachable_folder: Path) -> None:
    """On a full disk the inbox answers 452, which permits a retry, and leaves no temporary file."""
    with small_disk(reachable_folder / "mail", 1) as disk:
        async with Inbox(disk, port=0) as inbox:
            await asyncio.to_thread(fill, disk)
            with pytest.raises(aiosmtplib.SMTPDataError, match="No space left on device") as refused:
                await put(inbox, "Hello")
            assert refused.value.code == 452
            await asyncio.to_thread(make_room, disk)
            await put(inbox, "Hello again")

        assert [mail.subject for mail in read_inbox(disk)] == ["Hello again"]
        assert not any((disk / "tmp").iterdir())
