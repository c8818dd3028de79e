"""Guard around every request: names of this host, origin, session, login, and headers of the response.

The guard protects a browser that also visits hostile pages. It rejects other host names (DNS rebinding), requests and
WebSockets from other origins (CSRF, CSWSH), and lets the browser run only scripts of the console itself (CSP).
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.websockets import WebSocketClose

from console.sessions import Reader, sign_out
from operations.addresses import page_address

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from console.sessions import Sessions

LOGIN = "/login"
SAFE_METHODS = frozenset({"GET", "HEAD"})
# Calls of the API carry a key in a header, which no other site can add, so programs may send them without an origin.
# The API verifies the key, so its callers need no session.
API_PATHS = ("/solo60.", "/internal/openapi.json")
# Needed by the login page itself.
OPEN_PATHS = (LOGIN, "/session", "/ready", "/favicon.ico", "/static/", "/_nicegui/", "/_nicegui_ws/", *API_PATHS)
# NiceGUI evaluates the code of its own pages, hence 'unsafe-eval'. An injected script lacks the nonce.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self' 'nonce-{nonce}' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self' data:; connect-src 'self'; frame-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Guard:
    """ASGI application that passes only harmless requests to `app`, with `scope["state"]["reader"]`.

    `hosts` are the names under which browsers may reach the console. `is_valid` returns whether a key is still valid; a
    reader with a revoked key is signed out. With `needs_login`, a reader without a key gets only the login page.
    """

    def __init__(
        self,
        app: ASGIApp,
        sessions: Sessions,
        hosts: Collection[str],
        is_valid: Callable[[str], bool],
        *,
        needs_login: bool,
    ) -> None:
        self._app = app
        self._sessions = sessions
        self._is_valid = is_valid
        self._hosts = frozenset(hosts)
        self._needs_login = needs_login

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(scope, headers)
        reader = self._sessions.find(self._sessions.id_in(headers))
        new_cookie = ""
        if reader is None:
            reader = Reader()
            if _is_navigation(scope, headers) and not refusal:
                new_cookie = self._sessions.cookie_of(self._sessions.begin(reader))
        elif reader.is_signed_in and not self._is_valid(reader.key.get_secret_value()):
            sign_out(reader)
        if refusal:
            answer: ASGIApp = PlainTextResponse(refusal, 403)
        elif self._needs_login and not reader.is_signed_in and not scope["path"].startswith(OPEN_PATHS):
            answer = _to_login(scope, headers)
        else:
            # NiceGUI would copy a forwarded prefix into its pages.
            scope["headers"] = [each for each in scope["headers"] if not each[0].lower().startswith(b"x-forwarded-")]
            scope.setdefault("state", {})["reader"] = reader
            await self._app(scope, receive, _Response(send, new_cookie).send if scope["type"] == "http" else send)
            return
        if scope["type"] == "websocket":
            answer = WebSocketClose(code=1008, reason="refused")
        await answer(scope, receive, _Response(send, new_cookie).send if scope["type"] == "http" else send)

    def _refusal(self, scope: Scope, headers: Headers) -> str:
        """Return the reason to reject a request, or ""."""
        host = headers.get("host", "")
        if _host_name(host) not in self._hosts:
            return "This is not a name of the console. The setting CONSOLE_HOSTS adds names.\n"
        if _is_part_of_another_site(scope, headers):
            return "Requests from other sites are refused.\n"
        origin = headers.get("origin")
        if origin is None:
            is_safe = scope["type"] == "http" and scope["method"] in SAFE_METHODS
            return "" if is_safe or scope["path"].startswith(API_PATHS) else "The request lacks an Origin header.\n"
        # A browser sends only the scheme and the host. Anything else, such as "null", is another site.
        if origin.lower().partition("://")[2] != host.lower():
            return "Requests from other sites are refused.\n"
        return ""


class _Response:
    """Response with the headers that protect the browser, and a nonce in each script element of a page."""

    def __init__(self, send: Send, new_cookie: str) -> None:
        self._send = send
        self._new_cookie = new_cookie
        self._nonce = ""
        self._start: Message | None = None
        self._page = b""

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            self._add_headers(headers)
            if self._nonce:
                self._start = message
                return
        elif self._start is not None:
            self._page += message.get("body", b"")
            if not message.get("more_body"):
                await self._send_page(self._start)
            return
        await self._send(message)

    def _add_headers(self, headers: MutableHeaders) -> None:
        for name, value in HEADERS.items():
            headers.setdefault(name, value)
        if self._new_cookie:
            headers.append("Set-Cookie", self._new_cookie)
        if headers.get("content-type", "").startswith("text/html") and "content-security-policy" not in headers:
            self._nonce = secrets.token_urlsafe(16)
            headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY.format(nonce=self._nonce)
            headers["Cache-Control"] = "no-store"

    async def _send_page(self, start: Message) -> None:
        # NiceGUI escapes "<" in everything that a page shows, so each "<script" is one of its own.
        page = self._page.replace(b"<script", f'<script nonce="{self._nonce}"'.encode())
        MutableHeaders(scope=start)["Content-Length"] = str(len(page))
        await self._send(start)
        await self._send({"type": "http.response.body", "body": page})


def login_address(target: str) -> str:
    """Return the address of the login page, which leads to `target` after the sign-in."""
    return page_address("login", next=target)


def _is_part_of_another_site(scope: Scope, headers: Headers) -> bool:
    """Return whether a page of another site loads this address as its image, frame or script.

    Such a page could load any number of pages of the console, which take memory. A link to the console is allowed.
    """
    if headers.get("sec-fetch-site", "none") in ("none", "same-origin"):
        return False
    is_link = scope["type"] == "http" and scope["method"] == "GET" and headers.get("sec-fetch-dest") == "document"
    return not is_link


def _is_navigation(scope: Scope, headers: Headers) -> bool:
    """Return whether a browser loads a page, and not a part of a page."""
    return scope["type"] == "http" and scope["method"] == "GET" and "text/html" in headers.get("accept", "")


def _to_login(scope: Scope, headers: Headers) -> ASGIApp:
    if not _is_navigation(scope, headers):
        return PlainTextResponse("Sign in at /login first.\n", 401)
    query = scope["query_string"].decode("latin-1")
    return RedirectResponse(login_address(scope["path"] + (f"?{query}" if query else "")), 303)


def _host_name(host: str) -> str:
    """Return the name in a Host header, without the port, in lower case."""
    name, colon, port = host.lower().rpartition(":")
    return name if colon and port.isdecimal() else host.lower()
