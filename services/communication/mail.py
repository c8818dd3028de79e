"""Mail: a filled template as the bytes that go over the wire, the same in every attempt."""

from __future__ import annotations

from dataclasses import dataclass
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, getaddresses
from typing import TYPE_CHECKING, Self

from services.communication.mail_template import one_line

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from services.communication.mail_template import Text


@dataclass(frozen=True, slots=True)
class Mailbox:
    """An address with the name that is shown beside it; both are free of line breaks."""

    address: Address

    @classmethod
    def of(cls, email: str, display_name: str = "") -> Self:
        """Make a mailbox; raise ValueError when `email` is not in the form local@domain."""
        try:
            return cls(Address(one_line(display_name), addr_spec=email))
        except (MessageError, ValueError, IndexError):
            raise ValueError("is not in the form local@domain") from None

    @property
    def email(self) -> str:
        """The bare address."""
        return self.address.addr_spec

    @property
    def domain(self) -> str:
        """What follows the @."""
        return self.address.domain


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
    mail = EmailMessage(SMTP)
    mail["Message-ID"] = email_message_id
    mail["Date"] = format_datetime(create_time)
    mail["From"] = sender.address
    mail["To"] = [each.address for each in recipients]
    mail["Subject"] = text.subject
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no holiday notices in return
    mail.set_content(text.body, cte="quoted-printable")
    return mail.as_bytes()
