"""Guard alone, around a small application: no mesh and no browser."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from console.guard import Guard
from console.sessions import COOKIE, IDLE_S, MAX_SESSIONS, Reader, Sessions, sign_out

if TYPE_CHECKING:
    from starlette.requests import Request

BASE = "http://localhost:5500"
BROWSER = {"accept": "text/html"}
OTHER_SITE = {"origin": "http://evil.example"}


async def _show(request: Request) -> Response:
    prefix = request.headers.get("x-forwarded-prefix", "none")
    caller = request.state.reader.caller
    return HTMLResponse(f"<script>1</script><p>{prefix} {caller}</p><script src=x></script>")


async def _act(_request: Request) -> Response:
    return PlainTextResponse("done")


async def _talk(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text("hello")
    await websocket.close()


async def _framed(_request: Request) -> Response:
    return HTMLResponse("<script>1</script>", headers={"Content-Security-Policy": "sandbox"})


class Visit:
    """Client of a guarded application. `valid_keys` are the keys that are still valid."""

    def __init__(self, *, needs_login: bool = False) -> None:
        self.valid_keys = {"key"}
        self.sessions = Sessions()
        routes = [
            Route("/", _show),
            Route("/framed", _framed),
            Route("/act", _act, methods=["POST"]),
            Route("/solo60.gym.v1.GymService/GetGym", _act, methods=["POST"]),
            Route("/login", _show),
            WebSocketRoute("/_nicegui_ws/socket.io", _talk),
        ]
        guard = Guard(
            Starlette(routes=routes),
            self.sessions,
            ["localhost", "console.solo60.example"],
            self.valid_keys.__contains__,
            needs_login=needs_login,
        )
        self.client = TestClient(guard, base_url=BASE, follow_redirects=False)

    def sign_in(self) -> Reader:
        """Begin a session with a key."""
        reader = Reader(SecretStr("key"), "operator", frozenset({"outbox.read"}))
        self.client.headers["cookie"] = self.sessions.cookie_of(self.sessions.begin(reader)).partition(";")[0]
        return reader


@pytest.mark.parametrize("host", ["localhost:5500", "LOCALHOST", "console.solo60.example", "console.solo60.example:80"])
def test_the_names_of_the_console_are_accepted(host: str) -> None:
    """The port and the case of a name do not matter."""
    assert Visit().client.get("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example:5500", "127.0.0.1.nip.io", "", "[::1]:5500"])
def test_another_host_name_is_refused(host: str) -> None:
    """A hostile name that resolves to this machine (DNS rebinding) reads nothing."""
    refused = Visit().client.get("/", headers={"host": host})

    assert refused.status_code == 403
    assert "CONSOLE_HOSTS" in refused.text
    assert COOKIE not in refused.headers.get("set-cookie", "")


@pytest.mark.parametrize("path", ["/act", "/solo60.gym.v1.GymService/GetGym"])
@pytest.mark.parametrize(
    "origin", ["http://evil.example", "http://localhost:3000", "null", "http://[evil", "", "http://localhost:5500@evil"]
)
def test_a_request_from_another_site_is_refused(path: str, origin: str) -> None:
    """Another port of the same host is another site."""
    assert Visit().client.post(path, headers={"origin": origin}).status_code == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
@pytest.mark.parametrize("part", ["image", "iframe", "script", "empty"])
def test_a_page_of_another_site_cannot_load_parts(site: str, part: str) -> None:
    """A browser sends no origin with an image or a frame, but it says that another site asks."""
    headers = {"sec-fetch-site": site, "sec-fetch-dest": part, **BROWSER}
    refused = Visit().client.get("/", headers=headers)

    assert refused.status_code == 403
    assert "set-cookie" not in refused.headers


def test_a_link_from_another_site_is_followed() -> None:
    """A colleague may send the address of a page."""
    headers = {"sec-fetch-site": "cross-site", "sec-fetch-dest": "document", **BROWSER}

    assert Visit().client.get("/", headers=headers).status_code == 200


def test_two_consoles_on_one_host_have_their_own_cookies() -> None:
    """A browser sends a cookie to every port of a host. The session of another console stays in its own cookie."""
    assert Sessions(port="5500").cookie != Sessions(port="6500").cookie


def test_a_request_of_the_console_itself_is_accepted() -> None:
    """The origin of the console's own pages passes."""
    assert Visit().client.post("/act", headers={"origin": BASE}).text == "done"


def test_only_calls_of_the_api_need_no_origin() -> None:
    """A program sends no origin. Its calls carry a key, so they need no protection against other sites."""
    client = Visit().client

    assert client.post("/act").status_code == 403
    assert client.post("/solo60.gym.v1.GymService/GetGym").text == "done"


@pytest.mark.parametrize("headers", [{}, OTHER_SITE, {"origin": "http://localhost:3000"}])
def test_a_websocket_from_another_site_is_refused(headers: dict[str, str]) -> None:
    """A WebSocket needs the console's own origin."""
    with (
        pytest.raises(WebSocketDisconnect),
        Visit().client.websocket_connect("/_nicegui_ws/socket.io", headers={"host": "localhost:5500", **headers}),
    ):
        pass


def test_a_websocket_of_the_console_itself_is_accepted() -> None:
    """The pages of the console reach its server."""
    headers = {"host": "localhost:5500", "origin": BASE}
    with Visit().client.websocket_connect("/_nicegui_ws/socket.io", headers=headers) as socket:
        assert socket.receive_text() == "hello"


def test_only_scripts_of_the_page_have_the_nonce() -> None:
    """Each page has a nonce of its own, in its header and its script elements, and is not stored."""
    client = Visit().client
    pages = [client.get("/"), client.get("/")]
    nonces = [re.search(r"'nonce-([^']+)'", page.headers["content-security-policy"]) for page in pages]

    assert nonces[0]
    assert nonces[1]
    assert nonces[0][1] != nonces[1][1]
    assert pages[0].text.count(f'<script nonce="{nonces[0][1]}"') == pages[0].text.count("<script") == 2
    assert pages[0].headers["cache-control"] == "no-store"
    assert pages[0].headers["x-frame-options"] == "DENY"


def test_a_response_with_a_policy_of_its_own_keeps_it() -> None:
    """The guard does not give a nonce to a page that forbids scripts, such as a mail."""
    page = Visit().client.get("/framed")

    assert page.headers["content-security-policy"] == "sandbox"
    assert "nonce" not in page.text


def test_a_forwarded_prefix_reaches_no_page() -> None:
    """NiceGUI would copy the header into its pages."""
    assert "none" in Visit().client.get("/", headers={"x-forwarded-prefix": "/evil"}).text


def test_scripts_and_other_sites_cannot_use_the_session() -> None:
    """The cookie of a session is HttpOnly and SameSite=Strict."""
    cookie = Visit().client.get("/", headers=BROWSER).headers["set-cookie"]

    assert cookie.startswith(COOKIE)
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))


def test_parts_of_a_page_begin_no_session() -> None:
    """Only a page begins a session, so that parallel requests of one visit share it."""
    assert "set-cookie" not in Visit().client.get("/").headers


@pytest.mark.parametrize("cookie", [f"{COOKIE}=guessed", "a=b; ;;=", 'x="', ""])
def test_an_unknown_session_is_nobody(cookie: str) -> None:
    """A session id that the console did not give has no key."""
    assert "operator" not in Visit().client.get("/", headers={"cookie": cookie}).text


@pytest.mark.parametrize("other", ['x={"a": 1}', "x=a b", "[x]=1", "flag", 'x="', "x=\u00e9"])
def test_cookies_of_other_programs_do_not_end_a_session(other: str) -> None:
    """Programs on other ports of this host may set cookies of any form, before and after that of the console."""
    visit = Visit()
    visit.sign_in()
    own = visit.client.headers["cookie"]

    for cookie in (f"{other}; {own}", f"{own}; {other}"):
        assert "operator" in visit.client.get("/", headers=[(b"cookie", cookie.encode())]).text


def test_a_login_shows_nothing_else_before() -> None:
    """Without a key, a page leads to the login and back, and everything else is refused."""
    client = Visit(needs_login=True).client
    page = client.get("/?q=1", headers=BROWSER)

    assert (page.status_code, page.headers["location"]) == (303, "/login?next=%2F%3Fq%3D1")
    assert client.get("/").status_code == 401
    assert client.get("/login", headers=BROWSER).status_code == 200


def test_a_signed_in_reader_passes_the_login() -> None:
    """A reader with a key sees the page."""
    visit = Visit(needs_login=True)
    visit.sign_in()

    assert "operator" in visit.client.get("/", headers=BROWSER).text


def test_a_revoked_key_ends_the_reading() -> None:
    """The next request after a revocation finds no key."""
    visit = Visit(needs_login=True)
    reader = visit.sign_in()
    visit.valid_keys.clear()

    assert visit.client.get("/", headers=BROWSER).status_code == 303
    assert not reader.key.get_secret_value()


def test_a_session_ends_after_a_pause() -> None:
    """A session without a request for eight hours is unknown."""
    now_s = [0.0]
    sessions = Sessions(lambda: now_s[0])
    session_id = sessions.begin(Reader())
    now_s[0] = IDLE_S

    assert sessions.find(session_id) is not None
    now_s[0] += IDLE_S + 1
    assert sessions.find(session_id) is None


def test_many_visits_use_little_memory() -> None:
    """The session with the oldest request makes room for a new one."""
    sessions = Sessions()
    first, second = sessions.begin(Reader()), sessions.begin(Reader())
    sessions.find(first)
    for _ in range(MAX_SESSIONS - 1):
        sessions.begin(Reader())

    assert sessions.find(first) is not None
    assert sessions.find(second) is None


def test_many_visits_sign_nobody_out() -> None:
    """Sessions without a key make room first, even if their last requests are later."""
    sessions = Sessions()
    signed_in = sessions.begin(Reader(SecretStr("key"), "operator"))
    for _ in range(2 * MAX_SESSIONS):
        sessions.begin(Reader())

    assert sessions.find(signed_in) is not None


def test_open_pages_lose_the_key_of_an_ended_session() -> None:
    """A page that is still open has the same reader, so signing out takes the key from it."""
    visit = Visit()
    reader = visit.sign_in()
    visit.sessions.end(str(visit.client.headers["cookie"]).partition("=")[2])

    assert not reader.is_signed_in
    sign_out(reader)
    assert repr(reader) == repr(Reader())


def test_a_key_is_not_in_the_text_of_a_reader() -> None:
    """Logs and errors that show a reader do not show the key."""
    assert "sk_" not in repr(Reader(SecretStr("sk_dev_secret"), "operator"))
