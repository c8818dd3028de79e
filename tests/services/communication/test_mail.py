from __future__ import annotations

from datetime import UTC, datetime
from email import message_from_bytes
from email.header import decode_header, make_header
from email.message import Message
from email.utils import getaddresses
from html import escape
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.communication.mail import Mailbox, compose, message_id_header, parse_mailboxes
from services.communication.mail_template import Text
from services.communication.sanitize import break_links, one_line

SENDER = Mailbox.of("no-reply@solo60.example", "Solo60")
MESSAGE_ID = message_id_header(UUID(int=1), SENDER)
HIDDEN_LINE_BREAK = "=?utf-8?q?evil=0D=0ABcc=3A_eve=40example.org?="
HEADERS = [
    "Content-Type",
    "MIME-Version",
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
        Text(one_line(subject), body, f"<p>{escape(body)}</p>\n"),
        sender=SENDER,
        recipients=(Mailbox.of("ada@example.org", name),) * copies,
        email_message_id=MESSAGE_ID,
        create_time=datetime(2026, 3, 3, 18, tzinfo=UTC),
    )


def decoded(mail: Message, header: str) -> str:
    """Return a decoded header."""
    return str(make_header(decode_header(mail[header].replace("\n", ""))))


def parts_of(mail: Message) -> list[Message]:
    """Return the parts of a mail."""
    parts = mail.get_payload()
    assert isinstance(parts, list)
    return [part for part in parts if isinstance(part, Message)]


@given(name=anything, subject=anything)
@example(name="Ada\r\nBcc: eve@example.org", subject="Hello\nBcc: eve@example.org")
@example(name=HIDDEN_LINE_BREAK, subject=HIDDEN_LINE_BREAK)
@example(name="Ada\u2028Bcc: eve@example.org\x85X: y", subject="\r\r\n\x0bBcc: x")
@example(name='"Ada" <eve@example.org>, \\', subject="=?=" * 40)
def test_a_name_or_subject_cannot_add_a_header_or_a_recipient(name: str, subject: str) -> None:
    """No name and no subject, not even one with line breaks, adds a header or a recipient to the mail."""
    mail = message_from_bytes(bytes_of(name, subject))

    assert mail.keys() == HEADERS
    assert [email for _, email in getaddresses([mail["To"].replace("\n", "")])] == ["ada@example.org"]
    assert [part.get_payload(decode=True) for part in parts_of(mail)] == [b"Hello\r\n", b"<p>Hello\r\n</p>\r\n"]


@given(subject=anything)
def test_a_subject_arrives_unchanged(subject: str) -> None:
    """A subject arrives unchanged, except that line breaks and control characters become single spaces."""
    assert decoded(message_from_bytes(bytes_of(subject=subject)), "Subject").split() == one_line(subject).split()


@pytest.mark.parametrize("name", ["Ada", "Jörg Müller", 'O\'Brien, "Ann" (gym)', HIDDEN_LINE_BREAK, "東京" * 20])
def test_a_name_arrives_unchanged(name: str) -> None:
    """A name arrives unchanged, even with characters that have a meaning in headers."""
    mail = message_from_bytes(bytes_of(name))

    ((shown, email),) = getaddresses([mail["To"].replace("\n", "")])
    assert (str(make_header(decode_header(shown))), email) == (break_links(name), "ada@example.org")


@given(body=anything)
@example(body="one line\r\n.\r\nQUIT\r\n")
@example(body="x" * 5000)
def test_a_mail_is_ascii_in_short_lines(body: str) -> None:
    """A mail is ASCII in lines of at most 998 characters, so that any mail server accepts it (RFC 5321, 4.5.3.1.6)."""
    mail = bytes_of("Jörg" * 20, "Grüße " * 50, body, copies=20)

    assert mail.isascii()
    assert all(len(line) <= 998 and b"\r" not in line and b"\n" not in line for line in mail.split(b"\r\n"))


def test_a_mail_has_its_text_before_its_html() -> None:
    """A mail has two forms, plain text first, because a mail program shows the last one it can (RFC 2046, 5.1.4)."""
    mail = message_from_bytes(bytes_of(body="Grüße\n"))

    assert mail.get_content_type() == "multipart/alternative"
    assert [(part.get_content_type(), part.get_content_charset()) for part in parts_of(mail)] == [
        ("text/plain", "utf-8"),
        ("text/html", "utf-8"),
    ]
    assert [bytes(part.get_payload(decode=True)).decode() for part in parts_of(mail)] == [
        "Grüße\r\n",
        "<p>Grüße\r\n</p>\r\n",
    ]


def test_a_mail_to_many_lists_each_recipient() -> None:
    """SendSystemNotification sends one mail and lists every recipient in its header."""
    mail = message_from_bytes(bytes_of("Jörg, Ann", copies=12))

    assert [email for _, email in getaddresses([mail["To"].replace("\n", "")])] == ["ada@example.org"] * 12


@pytest.mark.parametrize("email", ["ada@localhost", "ada", "@example.org", "a b@example.org", ""])
def test_an_invalid_address_is_rejected(email: str) -> None:
    """An address that no mail server would accept raises ValueError."""
    with pytest.raises(ValueError, match=r"^must "):
        Mailbox.of(email)


@pytest.mark.parametrize(
    ("email", "wire"), [("a..b@docomo.ne.jp", '"a..b"@docomo.ne.jp'), ("a@bücher.example", "a@xn--bcher-kva.example")]
)
def test_an_address_is_encoded_for_smtp(email: str, wire: str) -> None:
    """An address is quoted if its dots require it, and its domain is in ASCII (RFC 5322)."""
    assert str(Mailbox.of(email, "Ada")) == f'"Ada" <{wire}>'
    assert getaddresses([str(Mailbox.of(email, "Ada"))]) == [("Ada", wire)]


def test_a_setting_may_list_several_addresses() -> None:
    """Mailboxes are parsed from one comma-separated setting, and an empty setting raises ValueError."""
    assert parse_mailboxes("Ann <ann@solo60.example>, bob@solo60.example") == (
        Mailbox("ann@solo60.example", "Ann"),
        Mailbox("bob@solo60.example"),
    )
    with pytest.raises(ValueError, match="no address"):
        parse_mailboxes("")


def test_the_message_id_contains_message_and_domain() -> None:
    """The Message-ID consists of the message's id and the sender's domain, so that it is unique (RFC 5322, 3.6.4)."""
    assert MESSAGE_ID == "<00000000-0000-0000-0000-000000000001@solo60.example>"
    assert message_from_bytes(bytes_of())["Message-ID"] == MESSAGE_ID
