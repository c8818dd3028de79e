"""Tests of `solo60 mail preview`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from services.communication.mail_template import TEMPLATES, Templates

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.cli.conftest import Solo60

KEYS = [template.key for template in Templates(TEMPLATES)]


def test_all_templates_are_listed(solo60: Solo60) -> None:
    """`mail preview` lists every template with its category and the subject of its example, without a mesh."""
    result = solo60("mail", "preview")

    lines = result.out.splitlines()[1:]
    assert (result.exit_code, [line.split()[0] for line in lines]) == (0, KEYS)
    assert re.search(r"^PASSWORD_RESET +security +Set a new password *$", result.out, re.MULTILINE)


def test_a_mail_is_shown_as_text_or_as_html(solo60: Solo60) -> None:
    """`mail preview TEMPLATE` prints subject and text, and with --html the HTML instead."""
    text, html = solo60("mail", "preview", "SESSION_BOOKED"), solo60("mail", "preview", "SESSION_BOOKED", "--html")

    assert text.out.startswith("Subject: Booked: Field Street Gym, ")
    assert "\n\nHello Dana Demo,\n\n" in text.out
    assert html.out.startswith("<!DOCTYPE html>\n")
    assert "Hello Dana Demo," in html.out
    assert (text.exit_code, html.exit_code) == (0, 0)


def test_a_mail_that_can_be_switched_off_has_an_example_of_its_link(solo60: Solo60) -> None:
    """Text and HTML of a reminder contain an example of the unsubscribe link. A mail about a booking contains none."""
    for form in ("--text", "--html"):
        assert "https://mail.solo60.example/unsubscribe/EXAMPLE" in solo60("mail", "preview", "TRIAL_ENDING", form).out
        assert "nsubscribe" not in solo60("mail", "preview", "SESSION_BOOKED", form).out


def test_an_unknown_template_is_an_error(solo60: Solo60) -> None:
    """An unknown key ends the command with exit code 1 and a message that names the key and the remedy."""
    result = solo60("mail", "preview", "SESSION_BOKED")

    assert (result.exit_code, result.out) == (1, "")
    assert result.err == 'There is no template "SESSION_BOKED". `solo60 mail preview` lists all of them.\n'


def test_all_mails_are_written_with_an_index(solo60: Solo60, tmp_path: Path) -> None:
    """--out writes text and HTML of each template, and an index page that shows and links all of them."""
    folder = tmp_path / "new" / "mails"

    assert solo60("mail", "preview", "--out", str(folder)).err == f"Written: {folder / 'index.html'}\n"

    files = {f"{key}.{form}" for key in KEYS for form in ("html", "txt")}
    assert {path.name for path in folder.iterdir()} == {*files, "index.html"}
    assert set(re.findall(r'(?:href|src)="([^"]+)"', (folder / "index.html").read_text())) == files


def test_one_mail_is_written_alone(solo60: Solo60, tmp_path: Path) -> None:
    """--out with a key writes only the mail with that key."""
    solo60("mail", "preview", "SESSION_BOOKED", "--out", str(tmp_path / "mail"))

    names = {path.name for path in (tmp_path / "mail").iterdir()}
    assert names == {"SESSION_BOOKED.html", "SESSION_BOOKED.txt", "index.html"}


def test_open_hands_the_page_to_the_browser(solo60: Solo60, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--open starts the desktop's browser with the page of the mail."""
    browser = tmp_path / "bin" / "xdg-open"
    browser.parent.mkdir()
    browser.write_text(f'#!/bin/sh\necho "$1" > {tmp_path / "opened"}\n')
    browser.chmod(0o755)
    monkeypatch.setenv("PATH", str(browser.parent))

    result = solo60("mail", "preview", "SESSION_BOOKED", "--open", "--out", str(tmp_path / "mail"))

    assert result.exit_code == 0
    assert (tmp_path / "opened").read_text() == f"{tmp_path / 'mail' / 'SESSION_BOOKED.html'}\n"


def test_open_without_a_browser_fails(solo60: Solo60, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--open on a machine without a browser fails, after it has printed the path of the page."""
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))

    result = solo60("mail", "preview", "--open", "--out", str(tmp_path / "mail"))

    assert result.exit_code == 1
    assert result.err.startswith(f"Written: {tmp_path / 'mail' / 'index.html'}\nNo browser could be started.")
