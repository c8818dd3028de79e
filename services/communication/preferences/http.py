"""HTTP endpoint behind unsubscribe links: one click in a mail program, or a page with a button (RFC 8058)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment
from starlette.responses import HTMLResponse
from starlette.routing import Route

from contracts.errors import InvalidRequest, UnsubscribeTokenInvalid
from mesh.serving.http_requests import router_of
from services.communication.preferences.links import UnsubscribeLinks
from solo60.communication.v1.communication_pb2 import UnsubscribeRequest
from solo60.communication.v1.communication_pb2_grpc import CommunicationServiceStub

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Router

    from mesh.serving.service import Runtime
    from solo60.communication.v1.communication_pb2_grpc import CommunicationServiceAsyncStub

PAGE = Environment(autoescape=True, trim_blocks=True).from_string(
    Path(__file__).with_name("page.html").read_text(encoding="utf-8")
)
# The page runs and loads nothing, and the browser sends its address, which contains the token, to no other site.
HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-robots-tag": "noindex",
}
# RFC 8058, section 3.2: the body of a one-click request, in either encoding of forms. The button sends the same.
NAME, VALUE = b"List-Unsubscribe", b"One-Click"


def http_app(runtime: Runtime) -> Router:
    """Return the application with the unsubscribe endpoint."""
    stub = runtime.channels.stub(CommunicationServiceStub)
    endpoint = UnsubscribeEndpoint(stub, UnsubscribeLinks.of(runtime.settings))
    return router_of(
        Route("/unsubscribe/{token}", endpoint.ask, methods=["GET"]),
        Route("/unsubscribe/{token}", endpoint.unsubscribe, methods=["POST"]),
    )


class UnsubscribeEndpoint:
    """Page with a button, and the request that the button and mail programs send.

    GET changes nothing, because virus scanners follow links. POST needs no login, and a repeated one changes nothing
    more. It calls the service over a stub, so that the policy of Unsubscribe applies.
    """

    def __init__(self, communication: CommunicationServiceAsyncStub, links: UnsubscribeLinks) -> None:
        self._communication = communication
        self._links = links

    async def ask(self, request: Request) -> Response:
        """Show the button."""
        try:
            _, category = self._links.read(request.path_params["token"])
        except UnsubscribeTokenInvalid:
            return _page("invalid", status=404)
        return _page("asked", category.label)

    async def unsubscribe(self, request: Request) -> Response:
        """Switch the category off; raise InvalidRequest for a body that neither the button nor a mail program sends."""
        body, token = await request.body(), request.path_params["token"]
        if NAME not in body or VALUE not in body:
            raise InvalidRequest
        try:
            _, category = self._links.read(token)
        except UnsubscribeTokenInvalid:
            return _page("invalid", status=404)
        await self._communication.Unsubscribe(UnsubscribeRequest(token=token))
        return _page("done", category.label)


def _page(state: str, label: str = "", status: int = 200) -> Response:
    return HTMLResponse(PAGE.render(state=state, label=label), status, HEADERS)
