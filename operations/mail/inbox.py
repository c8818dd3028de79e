"""Inbox of a local mesh, read by page: files are listed by name, and only the mails of a page are read."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from email import message_from_bytes, policy
from typing import TYPE_CHECKING

from contracts.mail_address import canonical
from local.mail_sink import RECIPIENT_HEADER, SENDER_HEADER, mail_paths, received_at, subject_of, text_of
from mesh.failure import Failure

if TYPE_CHECKING:
    from datetime import datetime
    from email.message import EmailMessage
    from pathlib import Path

# The name of a mail's file, without the flags that mail programs add: no slash, so it cannot leave the folder.
MAIL_ID = re.compile(r"[0-9]{1,20}\.[0-9A-Za-z_]{1,100}\.[0-9A-Za-z-]{1,100}")
# Mail programs append flags to the names of files that they have moved to "cur": ":2,S".
FLAGS = ":"
# The first two lines, which the mail sink writes, have at most the addresses of one mail.
MAX_HEAD_BYTES = 256 * 1024


class MailNotFound(Failure):
    """There is no mail with this id in the inbox."""


class UnreadableMail(Failure):
    """A stored mail is malformed, so that it cannot be parsed."""


@dataclass(frozen=True, slots=True)
class MailHead:
    """Mail in a list. `recipient` is from the envelope. `subject` is empty if the mail is malformed."""

    mail_id: str
    recipient: str
    subject: str
    received: datetime


@dataclass(frozen=True, slots=True)
class InboxPage:
    """Mails of one page, newest first. `next_cursor` is empty on the last page."""

    mails: list[MailHead]
    next_cursor: str


@dataclass(frozen=True, slots=True)
class ParsedMail:
    """Mail with its headers and both of its forms. `text` and `html` are empty if the mail has no such form."""

    head: MailHead
    sender: str
    headers: list[tuple[str, str]]
    text: str
    html: str

    @property
    def message_id(self) -> str:
        """The Message-ID header, or ""."""
        return next((value for name, value in self.headers if name.lower() == "message-id"), "")


def page_of_inbox(folder: Path, size: int, to: str = "", cursor: str = "") -> InboxPage:
    """Return the `size` newest mails, or those after the page with this `next_cursor`.

    `to` selects mail to an address, or to addresses that contain it. A missing folder has no mail.
    """
    paths = [path for path in reversed(mail_paths(folder)) if MAIL_ID.fullmatch(id_of(path))]
    found: list[MailHead] = []
    for path in paths:
        if cursor and id_of(path) >= cursor:
            continue
        recipient = _recipient_in(path)
        if recipient is None or not _is_to(recipient, to):
            continue
        if len(found) == size:
            return InboxPage(found, found[-1].mail_id)
        found.append(MailHead(id_of(path), recipient, _subject_in(path), received_at(path)))
    return InboxPage(found, "")


def count_mails(folder: Path) -> int:
    """Return the number of mails in the inbox."""
    return len(mail_paths(folder))


def find_mail(folder: Path, mail_id: str) -> Path:
    """Return the path of a mail; raise MailNotFound if there is none, or if the id cannot be one."""
    if MAIL_ID.fullmatch(mail_id):
        for path in mail_paths(folder):
            if id_of(path) == mail_id:
                return path
    raise MailNotFound("There is no such mail in the inbox of this mesh. `solo60 inbox` lists the newest ones.")


def parse_mail(path: Path) -> ParsedMail:
    """Return the mail in a file; raise UnreadableMail if it is malformed."""
    try:
        mail = _parse(path.read_bytes())
        head = MailHead(id_of(path), str(mail[RECIPIENT_HEADER]), subject_of(mail), received_at(path))
        return ParsedMail(
            head=head,
            sender=str(mail[SENDER_HEADER]).strip("<>"),
            headers=[(name, str(value)) for name, value in mail.items()],
            text=text_of(mail.get_body(("plain",))),
            html=text_of(mail.get_body(("html",))),
        )
    except OSError:
        raise
    except Exception as error:  # the parser raises many kinds of errors for malformed mail
        raise UnreadableMail(f"This mail is malformed ({type(error).__name__}). Its file is {path}.") from error


def id_of(path: Path) -> str:
    """Return the id of a mail, which does not change when a mail program adds flags to the name of its file."""
    return path.name.partition(FLAGS)[0]


def _is_to(recipient: str, wanted: str) -> bool:
    with suppress(ValueError):  # a part of an address
        wanted = canonical(wanted)
    return wanted.lower() in recipient.lower()


def _recipient_in(path: Path) -> str | None:
    """Return the recipients in a mail's file, or None if a mail program has moved the file meanwhile."""
    try:
        with path.open("rb") as file:
            lines = [file.readline(MAX_HEAD_BYTES) for _ in range(2)]
    except FileNotFoundError:
        return None
    return lines[1].decode("utf-8", "replace").removeprefix(f"{RECIPIENT_HEADER}:").strip()


def _subject_in(path: Path) -> str:
    """Return the subject in a mail's file, without reading the body; "" if the head is malformed."""
    try:
        with path.open("rb") as file:
            head = file.read(MAX_HEAD_BYTES).partition(b"\n\n")[0]
        return subject_of(_parse(head))
    except Exception:  # noqa: BLE001 - malformed, or moved meanwhile: the page of the mail shows the reason
        return ""


def _parse(content: bytes) -> EmailMessage:
    return message_from_bytes(content, policy=policy.default)
