"""Pages of mail: the local inbox, hostile mail, and messages that failed."""

from __future__ import annotations

import json
import smtplib
from contextlib import contextmanager
from email.message import EmailMessage
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from playwright.sync_api import expect

from tests.console.outbox_messages import run_sql
from tests.support.browser import take_screens
from tests.support.local_mesh import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.browser import Visitor
    from tests.support.local_mesh import LocalMesh

pytestmark = pytest.mark.system

HOSTILE_HTML = """
<html><head><meta http-equiv="refresh" content="0;url={there}/refresh"><base href="{there}/">
<link rel="stylesheet" href="{there}/style.css"><script src="{there}/script.js"></script></head>
<body onload="alert(1)" background="{there}/background.png">
<h1 style="background: url({there}/css.png)">Hello Ada</h1>
<style>@import url({there}/import.css); h1 {{ list-style: url({there}/list.png) inside }}
@font-face {{ font-family: x; src: url({there}/font.woff) }} p {{ font-family: x }}</style>
<script>alert(1); fetch("{there}/fetch"); parent.location = "{there}/parent"</script>
<img src="{there}/image.png" onerror="alert(1)"><img src=x onerror="alert(1)">
<svg onload="alert(1)"><script>alert(1)</script><image href="{there}/svg.png"/><use href="{there}/use.svg#x"/></svg>
<iframe srcdoc="<script>parent.parent.alert(1)</script>"></iframe><iframe src="javascript:alert(1)"></iframe>
<iframe src="{there}/frame"></iframe><object data="{there}/object"></object><embed src="{there}/embed">
<video src="{there}/video" poster="{there}/poster.png" autoplay onerror="alert(1)"></video>
<audio src="{there}/audio" autoplay></audio><details open ontoggle="alert(1)">x</details>
<form action="{there}/form" id="f"><input name="q" autofocus onfocus="alert(1)"><button>Send</button></form>
<a href="javascript:alert(1)">a script</a> <a href="{there}/link">a link</a> <p>font</p>
<math><mtext><table><mglyph><style><img src=x onerror=alert(1)></style></mglyph></table></mtext></math>
<marquee onstart="alert(1)">x</marquee><template><script>alert(1)</script></template>
</body></html>
"""
GIVE_UP = "update messages set status = 'DEAD', due_time = null where message_id = '{id}' and status = 'FAILED'"
HOSTILE_SUBJECT = "<img src=x onerror=alert(1)><script>alert(1)</script>"


class _Counter(BaseHTTPRequestHandler):
    """Web server of an attacker, which counts requests."""

    requests: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.requests.append(self.path)
        self.send_response(HTTPStatus.NO_CONTENT)
        self.end_headers()

    do_POST = do_GET  # noqa: N815 - name of the standard library

    def log_message(self, *_arguments: object) -> None:
        """Print nothing."""


@contextmanager
def attacker() -> Iterator[str]:
    """Serve another site while the context is open; yield its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Counter)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def send(mesh: LocalMesh, to: str, subject: str, text: str, html: str = "") -> None:
    """Send a mail to the mail sink of a mesh."""
    mail = EmailMessage()
    mail["Subject"], mail["From"], mail["To"] = subject, "eve@attacker.example", to
    mail.set_content(text)
    if html:
        mail.add_alternative(html, subtype="html")
    parts = urlsplit(mesh.settings.smtp_url.get_secret_value())
    with smtplib.SMTP(parts.hostname or "", parts.port or 0) as client:
        client.send_message(mail)


def test_a_hostile_mail_runs_nothing_and_asks_nobody(visitor: Visitor, console_mesh: LocalMesh) -> None:
    """The HTML of a mail is shown, but no script runs, and neither loading nor a click sends a request elsewhere."""
    to = f"{uuid4().hex}@solo60.example"
    with attacker() as there:
        # The browser reports everything that it blocks, also the blocked requests. The attacker counts real ones.
        visitor.expected += ["Content Security Policy", "sandboxed", "Unsafe attempt to load URL", there]
        send(console_mesh, to, HOSTILE_SUBJECT, "Hello <b>Ada</b>", HOSTILE_HTML.format(there=there))
        page = visitor.open(f"/mail?to={to}")
        page.get_by_role("link", name=HOSTILE_SUBJECT).click()
        expect(page.get_by_text("Hello <b>Ada</b>")).to_be_visible()
        html = page.frame_locator("iframe.mail-html")
        expect(html.get_by_role("heading", name="Hello Ada")).to_be_visible()
        for name in ("a script", "a link"):
            html.get_by_role("link", name=name).click(force=True)
        html.get_by_role("button", name="Send").click(force=True)
        page.wait_for_load_state("networkidle")
        expect(html.get_by_role("heading", name="Hello Ada")).to_be_visible()
        take_screens(page, "mail-hostile")
        response = page.request.get(page.url + "/html")

    assert _Counter.requests == []
    assert len(visitor.context.pages) == 1
    assert response.headers["content-security-policy"].startswith("sandbox; default-src 'none'; ")


def test_the_inbox_is_filtered_by_recipient(visitor: Visitor, console_mesh: LocalMesh) -> None:
    """The newest mail is first, a part of an address is a filter, and a mail shows its text and its headers."""
    name = uuid4().hex
    for number in (1, 2):
        send(console_mesh, f"{name}{number}@solo60.example", f"Mail {number}", f"Text of mail {number}")
    page = visitor.open("/mail")
    page.get_by_label("Recipient").fill(name)
    page.get_by_role("button", name="Filter").click()

    expect(page.locator("td a")).to_have_text(["Mail 2", "Mail 1"])
    take_screens(page, "mail")
    page.get_by_role("link", name="Mail 1").click()
    expect(page.get_by_text("Text of mail 1")).to_be_visible()
    expect(page.get_by_text("eve@attacker.example").first).to_be_visible()
    visitor.go(page, f"/mail?to=nobody-{name}")
    expect(page.get_by_text(f"There is no mail to nobody-{name}.")).to_be_visible()


def test_no_path_leads_out_of_the_inbox(visitor: Visitor) -> None:
    """An id that is a path, or that no mail has, is not found."""
    page = visitor.open("/mail/1.1_1.localhost")
    expect(page.get_by_text("There is no such mail in the inbox")).to_be_visible()
    for mail_id in ("..%2f..%2fkeys%2foperator", "..", "%2e%2e%2f%2e%2e%2fkeys%2foperator", "1.1_1.localhost"):
        response = page.request.get(f"{visitor.base}/mail/{mail_id}/html")
        assert response.status == HTTPStatus.NOT_FOUND
        assert "sk_" not in response.text()


def test_a_failed_message_is_retried(operator: Visitor, console_mesh: LocalMesh) -> None:
    """A reader with the scope sees a message that was given up, and sends it after the mail server is repaired."""
    to = f"{uuid4().hex}@solo60.example"
    folder = console_mesh.settings.inbox_folder
    (folder / "tmp").rename(folder / "away")  # the mail sink answers 452 now
    try:
        request = {
            "recipient": {"email": to},
            "template_key": "PASSWORD_CHANGED",
            "variables": {"member_name": "Ada"},
        }
        sent = console_mesh.solo60("call", "communication.SendEmailAsync", json.dumps(request))
        message_id = json.loads(sent.stdout)["message_id"]
        wait_for(lambda: run_sql(console_mesh, "communication", GIVE_UP.format(id=message_id)) == "UPDATE 1")
    finally:
        (folder / "away").rename(folder / "tmp")
    page = operator.open("/mail")
    row = page.get_by_role("row").filter(has_text="PASSWORD_CHANGED")
    expect(row).to_contain_text("DEAD")
    take_screens(page, "mail-failed")

    row.get_by_role("button", name="Retry").click()
    page.get_by_role("dialog").get_by_role("button", name="Retry").click()
    expect(page.get_by_text("The message is queued.")).to_be_visible()
    expect(page.get_by_text("No message has failed.")).to_be_visible()
    operator.go(page, f"/mail/messages/{message_id}")
    expect(page.locator(".badge")).to_have_text("SENT")
    operator.go(page, f"/mail?to={to}")
    expect(page.locator("td a")).to_have_count(1)


def test_a_reader_without_the_scope_sees_why(visitor: Visitor) -> None:
    """Without a key, the page names the scope that the list of failed messages needs, and still shows the inbox."""
    page = visitor.open("/mail")

    expect(page.get_by_text("Sign in with a key that has the scope communication.operate.")).to_be_visible()
    expect(page.get_by_role("heading", name="Inbox")).to_be_visible()
