"""Pages for unknown paths and for unexpected errors, in the frame of all pages and without internals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from fastapi.exception_handlers import http_exception_handler
from nicegui import Client, ui
from starlette.exceptions import HTTPException

from console import widgets
from console.frame import FAILED, View, frame

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from console.state import Console

NOT_FOUND = 404
FAILED_STATUS = 500

_log = structlog.stdlib.get_logger("solo60.console")


async def not_found(console: Console, request: Request, error: Exception) -> Response:
    """Answer a request for an unknown path with a page, and one for an unknown file of NiceGUI with its own answer."""
    if isinstance(error, HTTPException) and request.url.path.startswith("/_nicegui"):
        return await http_exception_handler(request, error)
    with Client(ui.page("", title="Not found · Solo60"), request=request) as client:
        with frame(View(console, request.state.reader, request), "Not found"):
            widgets.empty_state("There is no page at this address.", "The address may be incomplete or out of date.")
            with ui.element("p").classes("row-line"):
                ui.link("Now: what is wrong in the mesh", "/")
                ui.link("Search for a name or an id", "/search")
        return client.build_response(request, NOT_FOUND)


async def failed(console: Console, request: Request, error: Exception) -> Response:
    """Log an unexpected error, and answer with a page that does not show it."""
    _log.error("a page failed", path=request.url.path, exc_info=error)
    with Client(ui.page("", title="Failed · Solo60"), request=request) as client:
        with frame(View(console, request.state.reader, request), "Failed"):
            widgets.error_state(FAILED)
        return client.build_response(request, FAILED_STATUS)
