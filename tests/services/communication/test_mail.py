from __future__ import annotations

from datetime import UTC, datetime
from email import message_from_bytes
from email.header import decode_header, make_header
from email.utils import getaddresses
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.communication.mail import Mailbox, compose, message_id_header, parse_mailboxes
from services.communication.mail_template import Text
from services.communication.shown_text import one_line, unlinked

if TYPE_CHECKING:
    from email.message import Message

SENDER = Mailbox.of("no-reply@solo60.example", "Solo60")
MESSAGE_ID = message_id_header(UUID(int=1), SENDER)
HIDDEN_LINE_BREAK = "=?utf-8?q?evil=0D=0ABcc=3A_eve=40example.org?="
HEADERS = [
    "Content-Type",
    "MIME-Version",
    "Content-Transfer-Encoding",
    "Message-ID",
    "Date",
    "From",
    "To",
    "Subject",
    "Auto-Submitted",
]
anything = st.text(st.characters(exclude_categories=["Cs"]), max_size=120)


def bytes_of(name: str = "", subject: str = "Hello", body: str = "Hello\n", copies: int = 1) -> bytes:
    """Compose a mail to ada@example.org."""
    return compose(
        Text(one_line(subject), body),
        sender=SENDER,
        recipients=(Mailbox.of("ada@example.org", name),) * copies,
        email_message_id=MESSAGE_ID,
        create_time=datetime(2026, 3, 3, 18, tzinfo=UTC),
    )


def decoded(mail: Message, header: str) -> str:
    """Return a header as a reader sees it."""
    return str(make_header(decode_header(mail[header].replace("\n", ""))))


@given(name=anything, subject=anything)
@example(name="Ada\r\nBcc: eve@example.org", subject="Hello\nBcc: eve@example.org")
@example(name=HIDDEN_LINE_BREAK, subject=HIDDEN_LINE_BREAK)
@example(name="Ada\u2028Bcc: eve@example.org\x85X: y", subject="\r\r\n\x0bBcc: x")
@example(name='"Ada" <eve@example.org>, \\', subject="=?=" * 40)
def test_no_name_and_no_subject_can_add_a_header_or_a_recipient(name: str, subject: str) -> None:
    """Whatever a caller fills in, the mail has the headers that it should have and one recipient."""
    mail = message_from_bytes(bytes_of(name, subject))

    assert mail.keys() == HEADERS
    assert [email for _, email in getaddresses([mail["To"].replace("\n", "")])] == ["ada@example.org"]
    assert mail.get_payload(decode=True) == b"Hello\r\n"


@given(subject=anything)
def test_a_subject_arrives_as_it_was_written(subject: str) -> None:
    """Only line breaks and control characters are lost: each becomes a space, and several spaces become one."""
    assert decoded(message_from_bytes(bytes_of(subject=subject)), "Subject").split() == one_line(subject).split()


@pytest.mark.parametrize("name", ["Ada", "Jörg Müller", 'O\'Brien, "Ann" (gym)', HIDDEN_LINE_BREAK, "東京" * 20])
def test_a_name_arrives_as_it_was_written(name: str) -> None:
    """A name may hold anything that a keyboard writes, also what has a meaning in headers."""
    mail = message_from_bytes(bytes_of(name))

    ((shown, email),) = getaddresses([mail["To"].replace("\n", "")])
    assert (str(make_header(decode_header(shown))), email) == (unlinked(name), "ada@example.org")


@given(body=anything)
@example(body="one line\r\n.\r\nQUIT\r\n")
@example(body="x" * 5000)
def test_a_mail_is_ascii_in_short_lines(body: str) -> None:
    """RFC 5321, section 4.5.3.1.6: any mail server takes it, whatever it says."""
    mail = bytes_of("Jörg" * 20, "Grüße " * 50, body, copies=20)

    assert mail.isascii()
    assert all(len(line) <= 998 and b"\r" not in line and b"\n" not in line for line in mail.split(b"\r\n"))


def test_a_mail_to_many_names_each() -> None:
    """SendSystemNotification: one message, however many people the audience has."""
    mail = message_from_bytes(bytes_of("Jörg, Ann", copies=12))

    assert [email for _, email in getaddresses([mail["To"].replace("\n", "")])] == ["ada@example.org"] * 12


@pytest.mark.parametrize("email", ["ada@localhost", "ada", "@example.org", "a b@example.org", ""])
def test_what_is_no_address_is_refused(email: str) -> None:
    """An address that no mail server would take is found out before anything is stored."""
    with pytest.raises(ValueError, match=r"^must "):
        Mailbox.of(email)


@pytest.mark.parametrize(
    ("email", "wire"), [("a..b@docomo.ne.jp", '"a..b"@docomo.ne.jp'), ("a@bücher.example", "a@xn--bcher-kva.example")]
)
def test_an_address_stands_in_headers_as_smtp_takes_it(email: str, wire: str) -> None:
    """RFC 5322: quoted where dots need it, and with the domain in ASCII."""
    assert str(Mailbox.of(email, "Ada")) == f'"Ada" <{wire}>'
    assert getaddresses([str(Mailbox.of(email, "Ada"))]) == [("Ada", wire)]


def test_several_addresses_stand_in_one_setting() -> None:
    """An audience is one line of the configuration."""
    assert parse_mailboxes("Ann <ann@solo60.example>, bob@solo60.example") == (
        Mailbox("ann@solo60.example", "Ann"),
        Mailbox("bob@solo60.example"),
    )
    with pytest.raises(ValueError, match="no address"):
        parse_mailboxes("")


def test_the_message_id_names_message_and_sender() -> None:
    """RFC 5322, section 3.6.4: nobody else makes the same Message-ID."""
    assert MESSAGE_ID == "<00000000-0000-0000-0000-000000000001@solo60.example>"
    assert message_from_bytes(bytes_of())["Message-ID"] == MESSAGE_ID
