from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from local.mail_sink import RECIPIENT_HEADER, SENDER_HEADER
from operations.mail.inbox import MailNotFound, UnreadableMail, find_mail, page_of_inbox, parse_mail

if TYPE_CHECKING:
    from pathlib import Path

HEAD = f"{SENDER_HEADER}: <a@solo60.example>\n{RECIPIENT_HEADER}: ada@solo60.example\n"


def put(folder: Path, number: int, rest: str = "Subject: Hello\n\nHello\n", place: str = "new", flags: str = "") -> str:
    """Store a mail and return its id."""
    mail_id = f"{number:019}.1_000001.localhost"
    (folder / place).mkdir(parents=True, exist_ok=True)
    (folder / place / (mail_id + flags)).write_text(HEAD + rest)
    return mail_id


def test_only_the_mails_of_a_page_are_read(tmp_path: Path) -> None:
    """A page reads its own mails, newest first, and no older ones. Its cursor leads to the next page."""
    ids = [put(tmp_path, number) for number in range(100, 106)]
    for number in range(100):
        (tmp_path / "new" / f"{number:019}.1_000001.localhost").mkdir()  # to read a folder raises an error

    first = page_of_inbox(tmp_path, 2)
    second = page_of_inbox(tmp_path, 3, cursor=first.next_cursor)

    assert [mail.mail_id for mail in first.mails] == ids[:3:-1]
    assert [mail.mail_id for mail in second.mails] == ids[3:0:-1]


def test_the_last_page_has_no_cursor(tmp_path: Path) -> None:
    """The last page, also a full one, has no cursor. A missing folder has no mail."""
    put(tmp_path, 1)
    put(tmp_path, 2)

    assert [page_of_inbox(tmp_path, size).next_cursor for size in (2, 3)] == ["", ""]
    assert page_of_inbox(tmp_path / "missing", 2).mails == []


def test_a_mail_is_found_after_a_mail_program_has_read_it(tmp_path: Path) -> None:
    """A mail has the same id in `cur`, where mail programs add flags to its name."""
    mail_id = put(tmp_path, 1, place="cur", flags=":2,S")

    assert [mail.mail_id for mail in page_of_inbox(tmp_path, 2).mails] == [mail_id]
    assert parse_mail(find_mail(tmp_path, mail_id)).head.subject == "Hello"


@pytest.mark.parametrize(
    "mail_id", ["", "..", "../secret", "new/../../secret", "/etc/passwd", "1.1_1.localhost/../x", "1.1_1.localhost\n"]
)
def test_no_id_leads_out_of_the_inbox(tmp_path: Path, mail_id: str) -> None:
    """An id that is no name of a mail raises MailNotFound, whatever exists at that path."""
    (tmp_path / "secret").write_text(HEAD)
    put(tmp_path / "inbox", 1)

    with pytest.raises(MailNotFound, match="no such mail"):
        find_mail(tmp_path / "inbox", mail_id)


def test_a_malformed_mail_does_not_hide_the_others(tmp_path: Path) -> None:
    """A mail with a malformed header is in the list. Its own page names the reason and the file."""
    good = put(tmp_path, 1)
    bad = put(tmp_path, 2, "Subject: x\nContent-Type: ,;charset*\n\nHello\n")

    assert [(mail.mail_id, mail.subject) for mail in page_of_inbox(tmp_path, 5).mails] == [(bad, ""), (good, "Hello")]
    with pytest.raises(UnreadableMail, match=rf"This mail is malformed .*{bad}"):
        parse_mail(find_mail(tmp_path, bad))


def test_an_unknown_character_set_is_read_as_utf8(tmp_path: Path) -> None:
    """The text of a mail in an unknown character set is shown, without the characters that cannot be read."""
    mail_id = put(tmp_path, 1, "Subject: x\nContent-Type: text/plain; charset=x-unknown\n\nHello\n")

    assert parse_mail(find_mail(tmp_path, mail_id)).text == "Hello\n"
