"""Mail as the bytes sent over the wire, the same in every attempt.

Headers use Python's older policy, `compat32`. The newer policies decode encoded words (RFC 2047) in a name or subject,
so that a line break hidden in one would begin a new header.
"""

from __future__ import annotations

from dataclasses import dataclass
from email.charset import QP, Charset
from email.header import Header
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from email.policy import compat32
from email.utils import format_datetime, getaddresses, quote
from typing import TYPE_CHECKING, Self

from contracts.mail_address import MailAddress
from services.communication.sanitize import break_links, one_line

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
    """Mail address in SMTP form, with a display name. Neither contains line breaks."""

    email: str
    name: str = ""

    @classmethod
    def of(cls, email: str, name: str = "") -> Self:
        """Return a mailbox; raise ValueError if SMTP cannot deliver to `email`."""
        return cls(MailAddress.parse(email).wire, break_links(one_line(name)))

    @property
    def domain(self) -> str:
        """The part of the address after the @."""
        return self.email.rpartition("@")[2]

    def __str__(self) -> str:
        if not self.name:
            return self.email
        name = _encoded(self.name)
        return f"{name} <{self.email}>" if name != self.name else f'"{quote(name)}" <{self.email}>'


def parse_mailboxes(text: str) -> tuple[Mailbox, ...]:
    """Parse comma-separated addresses with or without names; raise ValueError for an invalid address or none."""
    mailboxes = tuple(Mailbox.of(email, name) for name, email in getaddresses([one_line(text)]))
    if not mailboxes:
        raise ValueError("contains no address")
    return mailboxes


def message_id_header(message_id: UUID, sender: Mailbox) -> str:
    """Return the Message-ID header of a message (RFC 5322, section 3.6.4), including angle brackets."""
    return f"<{message_id}@{sender.domain}>"


def compose(
    text: Text, *, sender: Mailbox, recipients: tuple[Mailbox, ...], email_message_id: str, create_time: datetime
) -> bytes:
    """Return the mail with all headers, in ASCII with CRLF line endings."""
    mail = MIMEMultipart("alternative")  # RFC 2046, section 5.1.4: the preferred part is the last
    mail.attach(_part(text.body, "plain"))
    mail.attach(_part(text.html, "html"))
    mail["Message-ID"] = email_message_id
    mail["Date"] = format_datetime(create_time)
    mail["From"] = str(sender)
    mail["To"] = ",\n ".join(map(str, recipients))
    mail["Subject"] = _encoded(text.subject)
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: prevents automatic replies
    if text.unsubscribe_link is not None:
        mail["List-Unsubscribe"] = f"<{text.unsubscribe_link}>"  # RFC 2369
        mail["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"  # RFC 8058
    return mail.as_bytes(policy=_WIRE)


def _part(text: str, subtype: str) -> MIMEText:
    return MIMEText(text, subtype, _UTF8)  # type: ignore[arg-type] # its documentation allows a Charset


def _encoded(text: str) -> str:
    """Encode one line as encoded words (RFC 2047) if it is not ASCII, or contains the start of an encoded word."""
    return text if text.isascii() and ENCODED_WORD not in text else Header(text, "utf-8").encode()
