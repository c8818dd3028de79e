"""Local mail server that stores all mail in a Maildir and never forwards it."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes, policy
from typing import TYPE_CHECKING, Self
from weakref import WeakSet

from aiosmtpd.smtp import SMTP

from mesh.clock import SYSTEM_CLOCK
from mesh.failure import Failure

if TYPE_CHECKING:
    from email.message import EmailMessage, MIMEPart
    from pathlib import Path

    from aiosmtpd.smtp import Envelope, Session

    from mesh.clock import Clock

HOST = "127.0.0.1"
DEFAULT_PORT = 50025
# The folders of a Maildir. Mail is written to the first, then moved to the second when it is complete.
FOLDERS = ("tmp", "new", "cur")
SENDER_HEADER = "Return-Path"
RECIPIENT_HEADER = "X-Original-To"


class MailSinkError(Failure):
    """Error of a mail sink that cannot start or is not open."""


@dataclass(frozen=True, slots=True)
class Mail:
    """Received mail. `sender` and `recipient` are from the envelope; several recipients are separated by commas."""

    sender: str
    recipient: str
    subject: str
    body: str
    message_id: str
    received: datetime


class MailSink:
    """Mail server on 127.0.0.1 that stores mail in `folder`, as an async context manager.

    Port 0 selects a free port; `url` shows it. A mail is answered with 250 once it is stored. `clock` tells its time.
    """

    def __init__(self, folder: Path, *, port: int = DEFAULT_PORT, clock: Clock = SYSTEM_CLOCK) -> None:
        self._folder = folder
        self._clock = clock
        self._wanted_port = port
        self._server: asyncio.Server | None = None
        self._sessions: WeakSet[SMTP] = WeakSet()

    @property
    def port(self) -> int:
        """The port that the mail sink listens on; raises MailSinkError while it is not open."""
        if self._server is None:
            raise MailSinkError("The mail sink is not open.")
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        """The URL of the mail sink for SMTP_URL."""
        return f"smtp://{HOST}:{self.port}"

    async def __aenter__(self) -> Self:
        """Listen; raise MailSinkError if the port is in use or the folder cannot be created."""
        # aiosmtpd logs every command with its addresses at INFO.
        logging.getLogger("mail.log").setLevel(logging.WARNING)
        loop = asyncio.get_running_loop()
        try:
            for name in FOLDERS:
                (self._folder / name).mkdir(parents=True, exist_ok=True)
            self._server = await loop.create_server(self._begin_session, HOST, self._wanted_port)
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            if error.filename is not None:
                raise MailSinkError(f"DATA_DIR: {error.filename} cannot be created: {reason}.") from None
            raise MailSinkError(
                f"SMTP_URL: the mail sink cannot listen on {HOST}:{self._wanted_port}: {reason}. Choose another port."
            ) from None
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._server is not None:
            self._server.close()
            for session in self._sessions:
                if session.transport is not None:
                    session.transport.close()
            await self._server.wait_closed()
            self._server = None

    def _begin_session(self) -> SMTP:
        session = SMTP(
            _MailHandler(self._folder, self._clock),
            hostname="localhost",
            ident="solo60 mail sink",
            enable_SMTPUTF8=True,
        )
        self._sessions.add(session)
        return session


class _MailHandler:
    """Handler of aiosmtpd for received mail."""

    _numbers = itertools.count()

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        try:
            await asyncio.to_thread(self._store, envelope)
        except OSError as error:
            # A temporary code, so that the sender tries again: RFC 3463, "system not able to accept".
            return f"452 4.3.1 The mail sink cannot store the mail: {error.strerror}"
        return "250 OK"

    def _store(self, envelope: Envelope) -> None:
        content = envelope.original_content or b""
        head = f"{SENDER_HEADER}: <{envelope.mail_from}>\n{RECIPIENT_HEADER}: {', '.join(envelope.rcpt_tos)}\n"
        # Sorted by name, mails are in the order of their arrival.
        name = f"{int(self._clock.time_s() * 1e9)}.{os.getpid()}_{next(self._numbers):06}.localhost"
        unfinished = self._folder / "tmp" / name
        try:
            unfinished.write_bytes(head.encode() + content.replace(b"\r\n", b"\n"))
            unfinished.rename(self._folder / "new" / name)
        except OSError:
            unfinished.unlink(missing_ok=True)  # otherwise it takes up space on the full disk
            raise


def read_mails(folder: Path) -> list[Mail]:
    """Return the mail stored in the folder of a mail sink, the newest last."""
    mails = []
    for path in mail_paths(folder):
        with suppress(FileNotFoundError):  # a mail reader has moved it meanwhile
            mails.append(read_mail(path))
    return mails


def mail_paths(folder: Path) -> list[Path]:
    """Return the paths of all mail in the folder of a mail sink, the newest last. No file is read."""
    paths = [path for name in ("cur", "new") for path in (folder / name).glob("*")]
    return sorted(paths, key=lambda path: path.name)


def read_mail(path: Path) -> Mail:
    """Return the mail stored in a file of a mail sink."""
    mail = message_from_bytes(path.read_bytes(), policy=policy.default)
    return Mail(
        sender=mail[SENDER_HEADER].strip("<>"),
        recipient=mail[RECIPIENT_HEADER],
        subject=subject_of(mail),
        body=text_of(mail.get_body(("plain", "html"))),
        message_id=mail["Message-ID"] or "",
        received=received_at(path),
    )


def subject_of(mail: EmailMessage) -> str:
    """Return the subject of a mail, or ""."""
    return (mail["Subject"] or "").strip()  # a long subject is folded before its first word


def received_at(path: Path) -> datetime:
    """Return the time in UTC at which the mail in a file was received."""
    return datetime.fromtimestamp(int(path.name.partition(".")[0]) / 1e9, UTC)


def text_of(part: MIMEPart | None) -> str:
    """Return the text of a part of a mail, or "" for None."""
    if part is None:
        return ""
    try:
        return str(part.get_content())
    except LookupError:  # Python does not know the character set
        payload = part.get_payload(decode=True)
        return payload.decode("utf-8", "replace") if isinstance(payload, bytes) else ""
