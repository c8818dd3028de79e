"""Application of the console: its pages and its other routes, behind the guard."""

from __future__ import annotations

import gc
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import FastAPI
from nicegui import app as pages
from nicegui import ui
from starlette.responses import PlainTextResponse
from starlette.staticfiles import StaticFiles

from console import failures, sign_in
from console.frame import add_pages
from console.guard import Guard
from console.pages import MODULES
from mesh.port_offset import LOOPBACK_HOSTS

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp

    from console.state import Console

STATIC = Path(__file__).parent / "static"


def app_of(console: Console) -> ASGIApp:
    """Return the application. A process can have only one, because NiceGUI's pages are global."""
    # FastAPI would record each request of a reader as a span, with its query. Excluded requests are also excluded in
    # NiceGUI's application, which this one contains.
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, telemetry={"exclude": lambda _scope: True})
    app.add_route("/ready", _ready)
    app.add_route("/session", partial(sign_in.begin_session, console), methods=["POST"])
    app.add_route("/session/end", partial(sign_in.end_session, console), methods=["POST"])
    app.mount("/static", StaticFiles(directory=STATIC))
    add_pages(console, [sign_in, *MODULES])
    for module in MODULES:
        for route in getattr(module, "ROUTES", ()):
            app.router.routes.append(route(console))
    ui.run_with(
        app,
        title="Solo60",
        favicon=STATIC / "favicon.svg",
        tailwind=False,
        show_welcome_message=False,
        gzip_middleware_factory=None,
        # Pages change by timers and events, and bind nothing.
        binding_refresh_interval=None,
    )
    pages.on_delete(_free_memory)
    pages.add_exception_handler(failures.NOT_FOUND, partial(failures.not_found, console))
    pages.add_exception_handler(Exception, partial(failures.failed, console))
    settings = console.settings
    hosts = {*LOOPBACK_HOSTS, "[::1]", settings.console_listen_address.rpartition(":")[0].lower()}
    hosts |= {name for name in settings.console_hosts.split(",") if name}
    return Guard(app, console.sessions, hosts, console.is_valid, needs_login=settings.console_login)


def _free_memory() -> None:
    """Free the elements of a closed page."""
    # They refer to each other, and Python collects such objects so rarely that closed pages would take 15 MiB.
    gc.collect()


async def _ready(_request: Request) -> Response:
    return PlainTextResponse("ready\n")
