"""Attacks on the process of the console: raw requests, forged events of pages, and keys where they must not be."""

from __future__ import annotations

import socket
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

import pytest

from mesh.serving.keyring_file import KeyringFile
from tests.console.outbox_messages import status_of
from tests.support.api_client import JSON, ask, operator_key
from tests.support.forged_events import forge_all_events
from tests.support.local_mesh import wait_for
from tests.support.log_records import records_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.api_client import HttpAnswer
    from tests.support.browser import Visitor
    from tests.support.local_mesh import LocalMesh

pytestmark = pytest.mark.system

TIMEOUT_S = 10.0
FORM = "application/x-www-form-urlencoded"
PAGES = ("/", "/map", "/internal/docs", "/traces", "/logs", "/outbox", "/journeys", "/mail", "/keys", "/search?q=gym")
# Requests that servers in a row might divide differently (RFC 9112, section 11.2).
AMBIGUOUS = {
    "two lengths": "Content-Length: 3\r\nContent-Length: 4\r\n\r\nkey=",
    "length and chunks": "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "unknown encoding": "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "signed length": "Content-Length: +4\r\n\r\nkey=",
    "space before colon": "Content-Length : 4\r\n\r\nkey=",
    "folded header": "X: a\r\n b\r\n\r\n",
}
OUTSIDE = (
    "/static/..%2fguard.py",
    "/static/%2e%2e/guard.py",
    "/static/..%5cguard.py",
    "/internal/docs/openapi/scripts/..%2f..%2f..%2f__init__.py",
    "/mail/..%2f..%2fkeys%2foperator/html",
    "/static/%00",
    f"/static/{'a' * 5000}",
)
FILTERED = ("/logs?text=", "/traces?method=", "/search?q=", "/mail?to=", "/map?method=", "/outbox/session/")
TEXTS = {"long": "a" * 10_000, "no UTF-8": "%ff%fe%c3%28", "null": "%00", "half a character": "%ed%a0%80"}
OTHER_SITES = ("//evil.example", "/\\evil.example", "https://evil.example", "/\t/evil.example", "javascript:alert(1)")


@pytest.fixture
def address(console_mesh: LocalMesh) -> str:
    """Address of the console, as in the header Host."""
    return console_mesh.settings.console_listen_address


def begin_session(address: str, key: str, target: str = "/", cookie: str = "") -> HttpAnswer:
    """Send the form of the sign-in."""
    body, path = urlencode({"key": key}), f"/session?{urlencode({'next': target})}"
    return ask(address, path, body, origin=f"http://{address}", content_type=FORM, cookie=cookie)


def cookie_of(answer: HttpAnswer) -> str:
    """Return the cookie that an answer sets."""
    return answer.headers["set-cookie"].partition(";")[0]


def status_of_raw(address: str, request: str) -> int:
    """Return the status of the answer to a request that no library would send."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), TIMEOUT_S) as connection:
        connection.sendall(request.encode("latin-1"))
        return int(connection.makefile("rb").readline().split()[1])


@pytest.mark.parametrize("rest", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_an_ambiguous_request_is_refused(address: str, rest: str) -> None:
    """No request can hide in the body of another one."""
    head = f"POST /session HTTP/1.1\r\nHost: {address}\r\nOrigin: http://{address}\r\n"

    assert status_of_raw(address, head + rest) == HTTPStatus.BAD_REQUEST


@pytest.mark.parametrize("path", OUTSIDE)
def test_no_path_leads_out_of_a_folder(address: str, path: str) -> None:
    """Files outside of the folders of static files and mails are not found."""
    assert ask(address, path).status == HTTPStatus.NOT_FOUND


@pytest.mark.parametrize("target", OTHER_SITES)
def test_a_sign_in_leads_to_no_other_site(address: str, console_mesh: LocalMesh, target: str) -> None:
    """A link to the sign-in cannot lead to a page that looks like the console."""
    answer = begin_session(address, operator_key(console_mesh), target)

    assert (answer.status, answer.headers["location"]) == (HTTPStatus.SEE_OTHER, "/")


def test_a_sign_in_begins_a_session_of_its_own(address: str, console_mesh: LocalMesh) -> None:
    """Somebody who has planted a session in a browser does not get the key that its reader signs in with."""
    planted = cookie_of(ask(address, "/login", accept="text/html"))
    answer = begin_session(address, operator_key(console_mesh), cookie=planted)

    assert cookie_of(answer) != planted
    assert b"operator: sign out" not in ask(address, "/login", accept="text/html", cookie=planted).body
    assert b"operator: sign out" in ask(address, "/login", accept="text/html", cookie=cookie_of(answer)).body


def test_half_a_form_is_no_error_of_the_console(address: str, console_mesh: LocalMesh) -> None:
    """A client that leaves in the middle of the sign-in fills no log."""
    log = console_mesh.settings.log_path_of("console")
    start, refused = log.stat().st_size, "sign-in refused"
    host, _, port = address.rpartition(":")
    head = f"POST /session HTTP/1.1\r\nHost: {address}\r\nOrigin: http://{address}\r\nContent-Type: {FORM}\r\n"
    with socket.create_connection((host, int(port)), TIMEOUT_S) as connection:
        connection.sendall(f"{head}Content-Length: 100\r\n\r\nkey=x".encode())
    begin_session(address, "x")

    wait_for(lambda: refused in {line["event"] for line in records_of(log, start)})
    assert {line["event"] for line in records_of(log, start)} == {refused}


@pytest.mark.parametrize("path", [*PAGES, "/internal/docs/openapi", "/login", "/nowhere"])
def test_every_page_runs_only_its_own_scripts(address: str, path: str) -> None:
    """All HTML has a policy, each script of a page has the nonce, and no other site may embed the page."""
    answer = ask(address, path, accept="text/html")
    policy = answer.headers["content-security-policy"]
    nonce = policy.partition("'nonce-")[2].partition("'")[0]

    assert policy.startswith("default-src 'none'; script-src 'self' 'nonce-")
    assert answer.body.count(b"<script") == answer.body.count(f'<script nonce="{nonce}"'.encode()) > 0
    assert answer.headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("path", FILTERED)
def test_any_text_in_an_address_is_answered(address: str, path: str, text: str) -> None:
    """A page answers long and invalid texts, with results or with a reason."""
    assert ask(address, path + text, accept="text/html").status == HTTPStatus.OK


def test_forged_events_of_a_reader_without_a_key_change_nothing(
    address: str, console_mesh: LocalMesh, dead_letter: Callable[[], str]
) -> None:
    """A program that sends every event of every element, also of disabled ones, retries, drops and issues nothing."""
    letters = [dead_letter(), dead_letter()]
    keyring = KeyringFile(console_mesh.settings.keyring_path)
    before, log = keyring.records(), console_mesh.settings.log_path_of("console")
    start = log.stat().st_size
    for path in ("/keys", "/outbox", f"/outbox/session/{letters[0]}", "/internal/docs/gym/CreateGym", "/mail"):
        assert forge_all_events(address, path)

    assert [status_of(console_mesh, each) for each in letters] == ["dead", "dead"]
    assert keyring.records() == before
    assert not {line["event"] for line in records_of(log, start)} & {"action", "called"}

    # The same events of a reader with the key act, so they do arrive.
    cookie = cookie_of(begin_session(address, operator_key(console_mesh)))

    def acts() -> bool:
        # On a busy machine, a dialog may open after the program has left.
        forge_all_events(address, f"/outbox/session/{letters[0]}", cookie)
        return "action" in {line["event"] for line in records_of(log, start)}

    wait_for(acts)


def test_keys_are_in_no_log_and_no_page(address: str, console_mesh: LocalMesh, operator: Visitor) -> None:
    """Neither a right nor a wrong key reaches logs, spans, pages, addresses or cookies, whatever it was used for."""
    key = operator_key(console_mesh)
    wrong = key[:-4] + ("aaaa" if not key.endswith("aaaa") else "bbbb")
    signed_in = begin_session(address, key)
    answers = [signed_in, begin_session(address, wrong)]
    for each in (key, wrong):
        # The page of a search shows its text, but no log does.
        ask(address, f"/search?q={quote(each)}", accept="text/html", cookie=f"key={each}")
        for headers in ({"x-api-key": each}, {"authorization": f"Bearer {each}"}):
            answers += [ask(address, "/solo60.gym.v1.GymService/ListGyms", "{}", **JSON, **headers)]
    page = operator.open("/internal/docs/gym/ListGyms")
    page.get_by_role("button", name="Call", exact=True).click()
    page.locator(".outcome .badge").wait_for()
    answers += [ask(address, path, accept="text/html", cookie=cookie_of(signed_in)) for path in PAGES]

    texts = [page.content(), *(f"{answer.headers}{answer.body.decode()}" for answer in answers)]
    texts += [path.read_text(errors="replace") for path in files_of(console_mesh)]
    for each in (key, wrong):
        assert not [text for text in texts if each[-20:] in text]


def files_of(mesh: LocalMesh) -> list[Path]:
    """Return the files of all logs and spans."""
    return [*mesh.settings.log_folder.glob("*.jsonl*"), *mesh.settings.local_span_dir.glob("*.jsonl*")]
