"""Mail: a filled template as the bytes that go over the wire, the same in every attempt.

The headers are written in the older of Python's two styles: the newer one decodes what looks like an encoded word
(RFC 2047) in a name or subject, and line breaks hidden in it come out as new headers.
"""

from __future__ import annotations

from dataclasses import dataclass
from email.charset import QP, Charset
from email.header import Header
from email.mime.text import MIMEText
from email.policy import compat32
from email.utils import format_datetime, getaddresses, quote
from typing import TYPE_CHECKING, Self

from contracts.mail_address import MailAddress
from services.communication.shown_text import one_line, unlinked

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from services.communication.mail_template import Text

_WIRE = compat32.clone(linesep="\r\n")
_UTF8 = Charset("utf-8")
_UTF8.body_encoding = QP
ENCODED_WORD = "=?"


@dataclass(frozen=True, slots=True)
class Mailbox:
    """An address as SMTP takes it, with the name that is shown beside it; both are free of line breaks."""

    email: str
    name: str = ""

    @classmethod
    def of(cls, email: str, name: str = "") -> Self:
        """Make a mailbox; raise ValueError if mail cannot be sent to `email`."""
        return cls(MailAddress.parse(email).wire, unlinked(one_line(name)))

    @property
    def domain(self) -> str:
        """What follows the @."""
        return self.email.rpartition("@")[2]

    def __str__(self) -> str:
        if not self.name:
            return self.email
        name = _encoded(self.name)
        return f"{name} <{self.email}>" if name != self.name else f'"{quote(name)}" <{self.email}>'


def parse_mailboxes(text: str) -> tuple[Mailbox, ...]:
    """Read addresses separated by commas, with names or without; raise ValueError when there is none or a bad one."""
    mailboxes = tuple(Mailbox.of(email, name) for name, email in getaddresses([one_line(text)]))
    if not mailboxes:
        raise ValueError("holds no address")
    return mailboxes


def message_id_header(message_id: UUID, sender: Mailbox) -> str:
    """Return the Message-ID header of a message (RFC 5322, section 3.6.4), with its angle brackets."""
    return f"<{message_id}@{sender.domain}>"


def compose(
    text: Text, *, sender: Mailbox, recipients: tuple[Mailbox, ...], email_message_id: str, create_time: datetime
) -> bytes:
    """Return the mail with all its headers, in ASCII with CRLF line ends."""
    mail = MIMEText(text.body, "plain", _UTF8)  # type: ignore[arg-type] # it takes a Charset, as its documentation says
    mail["Message-ID"] = email_message_id
    mail["Date"] = format_datetime(create_time)
    mail["From"] = str(sender)
    mail["To"] = ",\n ".join(map(str, recipients))
    mail["Subject"] = _encoded(text.subject)
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no holiday notices in return
    return mail.as_bytes(policy=_WIRE)


def _encoded(text: str) -> str:
    """Write one line as encoded words where it is not ASCII, or could be taken for them."""
    return text if text.isascii() and ENCODED_WORD not in text else Header(text, "utf-8").encode()
