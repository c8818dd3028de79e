from __future__ import annotations

import asyncio
import logging
import re
from datetime import UTC, datetime
from email.message import EmailMessage
from typing import TYPE_CHECKING

import aiosmtplib
import pytest

from mesh.inbox import Inbox, InboxError, read_inbox
from tests.support.small_disk import fill, make_room, small_disk

if TYPE_CHECKING:
    from pathlib import Path

SENDER, RECIPIENT = "no-reply@solo60.example", "ada@example.org"


async def put(inbox: Inbox, subject: str, body: str = "Hello", recipients: tuple[str, ...] = (RECIPIENT,)) -> None:
    """Hand a mail to the inbox, as any mail client would."""
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"], mail["Message-ID"] = SENDER, RECIPIENT, subject, "<1@test>"
    mail.set_content(body)
    await aiosmtplib.send(mail, hostname="127.0.0.1", port=inbox.port, recipients=recipients, timeout=10)


async def test_a_mail_is_kept_as_it_was_sent(tmp_path: Path) -> None:
    """What was handed over is read back, in any alphabet, with the addresses of its envelope."""
    began = datetime.now(UTC)
    async with Inbox(tmp_path / "mail", port=0) as inbox:
        await put(inbox, "Grüße", ".\nTrain at 18:00 — 東京\n", (RECIPIENT, "bob@example.org"))

    (mail,) = read_inbox(tmp_path / "mail")
    assert (mail.sender, mail.recipient) == (SENDER, f"{RECIPIENT}, bob@example.org")
    assert (mail.subject, mail.message_id) == ("Grüße", "<1@test>")
    assert mail.body == ".\nTrain at 18:00 — 東京\n"
    assert began <= mail.received <= datetime.now(UTC)


async def test_mail_outlives_the_inbox_and_the_newest_is_last(tmp_path: Path) -> None:
    """The folder keeps everything, in the order of arrival, and a folder without mail is no error."""
    assert read_inbox(tmp_path) == []
    for subject in ("first", "second", "third"):
        async with Inbox(tmp_path, port=0) as inbox:
            await put(inbox, subject)

    assert [mail.subject for mail in read_inbox(tmp_path)] == ["first", "second", "third"]


async def test_two_mails_at_the_same_time_are_both_kept(tmp_path: Path) -> None:
    """Sessions do not wait for each other, and no mail replaces another."""
    subjects = [f"mail-{number:02}" for number in range(20)]
    async with Inbox(tmp_path, port=0) as inbox:
        await asyncio.gather(*(put(inbox, subject) for subject in subjects))

    assert sorted(mail.subject for mail in read_inbox(tmp_path)) == subjects


async def test_a_port_in_use_is_one_clear_sentence(tmp_path: Path) -> None:
    """A second inbox on the same port is told where and why it cannot listen."""
    async with Inbox(tmp_path, port=0) as inbox:
        sentence = f"The inbox cannot listen on 127.0.0.1:{inbox.port}: Address already in use."
        with pytest.raises(InboxError, match=re.escape(sentence)):
            await Inbox(tmp_path, port=inbox.port).__aenter__()


async def test_closing_does_not_wait_for_idle_clients(tmp_path: Path) -> None:
    """A client that says nothing is hung up on, and the port is free again."""
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
    """What the inbox logs names nobody."""
    caplog.set_level(logging.INFO)
    async with Inbox(tmp_path, port=0) as inbox:
        await put(inbox, "secret")

    assert RECIPIENT not in caplog.text


async def test_mail_for_which_there_is_no_room_may_be_sent_again(reachable_folder: Path) -> None:
    """A full disk is no reason to give a mail up: the answer is 452, and nothing is left of the attempt."""
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
