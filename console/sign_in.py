"""Sign-in with an API key: the page, and the requests of its forms.

The forms use plain HTTP and not the page's WebSocket, because each sign-in begins a new session with a new cookie.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from nicegui import ui
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse, RedirectResponse

from console.frame import page
from console.guard import LOGIN
from console.sessions import Reader, sign_in
from operations.addresses import page_address

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from console.frame import View
    from console.state import Console

# Far more than a key and an address.
MAX_FORM_BYTES = 8 * 1024
UNKNOWN_KEY = "unknown-key"

_log = structlog.stdlib.get_logger("solo60.console")


@page(LOGIN, "Sign in")
async def login(view: View) -> None:
    """Show a form for the reader's key."""
    target = local_path(view.query("next"))
    with ui.element("form").props(f'method=post action="{page_address("session", next=target)}"').classes("card form"):
        ui.label("Sign in with an API key").classes("title")
        ui.label(
            "Reading needs no key on this machine. Actions such as a retry or a call use yours, with its scopes. "
            "The console stores the key only in memory, until you sign out."
            if not view.console.settings.console_login
            else "Only readers with a valid API key can use this console. It stores the key only in memory."
        ).classes("note")
        key_file = view.console.operator_key_file()
        if key_file:
            ui.label(f"The operator's key of this mesh is in {key_file}.").classes("note")
        field = ui.input("API key", password=True).props('name=key autocomplete=off autofocus outlined dense for="key"')
        if view.query("failed") == UNKNOWN_KEY:
            field.props('error error-message="This is not a valid key of this mesh."')
        ui.button("Sign in").props("type=submit unelevated no-caps")


async def begin_session(console: Console, request: Request) -> Response:
    """Begin a session with the key in the form, and redirect to the page in `next`."""
    if int(request.headers.get("content-length", MAX_FORM_BYTES + 1)) > MAX_FORM_BYTES:
        return PlainTextResponse("The form is too large.\n", 413)
    target = local_path(request.query_params.get("next", ""))
    try:
        async with request.form() as form:
            key = str(form.get("key", "")).strip()
    except ClientDisconnect:
        return PlainTextResponse("The form is incomplete.\n", 400)
    record = console.record_of(key)
    if record is None:
        _log.warning("sign-in refused")
        return RedirectResponse(page_address("login", failed=UNKNOWN_KEY, next=target), 303)
    reader = Reader()
    sign_in(reader, key, record)
    console.sessions.end(console.sessions.id_in(request.headers))
    _log.info("signed in", caller=record.caller, key_id=record.key_id)
    response = RedirectResponse(target, 303)
    response.headers["Set-Cookie"] = console.sessions.cookie_of(console.sessions.begin(reader))
    return response


async def end_session(console: Console, request: Request) -> Response:
    """End the reader's session, and redirect to the first page."""
    console.sessions.end(console.sessions.id_in(request.headers))
    response = RedirectResponse("/", 303)
    response.delete_cookie(console.sessions.cookie)
    return response


def local_path(target: str) -> str:
    """Return `target` if it is a path of the console, or "/" otherwise."""
    is_local = target.startswith("/") and not target.startswith("//") and target.isprintable() and "\\" not in target
    return target if is_local else "/"
