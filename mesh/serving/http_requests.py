"""Limits, context, errors and access log of HTTP requests, around the application of a service."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import grpc
import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.routing import Router

from contracts.errors import Cancelled, DeadlineExceeded, Internal, MessageTooLarge, ServiceError
from contracts.metadata import CORRELATION_ID
from interceptors.access_log import LOGGER
from interceptors.context import correlation_id_in, detached_work

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.routing import Route
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

# The longest time from the complete header to the complete response, and the budget for calls of other services.
REQUEST_TIMEOUT_S = 15.0
# The largest webhook that fits into one gRPC message: `payload` of ProcessWebhookRequest.
MAX_BODY_BYTES = 1024 * 1024 - 4 * 1024

# HTTP status for each code of a ServiceError, as google/rpc/code.proto maps them; 500 for any other code.
HTTP_STATUS: Mapping[grpc.StatusCode, int] = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}
CONTENT_TOO_LARGE = 413

_access_log = structlog.stdlib.get_logger(LOGGER)
_log = structlog.stdlib.get_logger("solo60.http")


def router_of(*routes: Route) -> Router:
    """Return an application with these routes.

    It never redirects, because the redirect of a path with a slash leads to the host that the client names.
    """
    return Router(routes, redirect_slashes=False)


class GuardedApp:
    """ASGI application that runs `app` with a correlation id, a time limit and the complete body of the request.

    The application may raise a ServiceError. The response is then JSON with its reason and the correlation id, and the
    status of its code. Any other exception is logged and answered with 500. The access log shows the route, never the
    path or the query, which may be personal.

    `app` is a router that `router_of` returns, because the class `Starlette` answers every exception itself.
    """

    def __init__(
        self, app: ASGIApp, max_body_bytes: int = MAX_BODY_BYTES, timeout_s: float = REQUEST_TIMEOUT_S
    ) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        began, answer = time.perf_counter(), _Answer(send)
        with detached_work(correlation_id_in(Headers(scope=scope)), self._timeout_s) as context:
            answer.correlation_id = context.correlation_id
            try:
                await self._run(scope, receive, answer)
            finally:
                _access_log.info(
                    "http",
                    method=scope["method"],
                    route=_route(scope),
                    status=answer.status,
                    duration_ms=int((time.perf_counter() - began) * 100_000) / 100,
                )

    async def _run(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                body = await self._body(scope, receive)
                await self._app(scope, _replay(body, receive), answer.send)
        except Exception as error:
            if answer.status:  # the response has begun, so only the end of the connection can report the error
                raise
            await answer.send_error(_service_error(error), scope, receive)

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        """Return the complete body.

        Raises MessageTooLarge, before reading the body if its announced length is too large, or Cancelled if the client
        has closed the connection before the end of the body.
        """
        length = Headers(scope=scope).get("content-length", "0")
        if int(length) > self._max_body_bytes:
            raise MessageTooLarge
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Cancelled
            body += message.get("body", b"")
            if len(body) > self._max_body_bytes:
                raise MessageTooLarge
            if not message.get("more_body"):
                return bytes(body)


class _Answer:
    """Response with the correlation id, after which the connection ends. `status` is 0 until the response begins."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0
        self.correlation_id = ""

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers[CORRELATION_ID] = self.correlation_id
            headers["connection"] = "close"
        await self._send(message)

    async def send_error(self, error: ServiceError, scope: Scope, receive: Receive) -> None:
        is_too_large = isinstance(error, MessageTooLarge)
        status = CONTENT_TOO_LARGE if is_too_large else HTTP_STATUS.get(error.code, 500)
        content = {"reason": error.reason_name(), "correlation_id": self.correlation_id}
        await JSONResponse(content, status)(scope, receive, self.send)


def _service_error(error: Exception) -> ServiceError:
    if isinstance(error, ServiceError):
        return error
    if isinstance(error, TimeoutError):
        return DeadlineExceeded()
    _log.error("an HTTP request failed", exc_info=error)
    return Internal()


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that yields the complete body, and then the messages of the connection."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay


def _route(scope: Scope) -> str:
    """Return the path with the name of each parameter in place of its value, or "" if no route has matched."""
    if "endpoint" not in scope:
        return ""
    path: str = scope["path"]
    for name, value in scope.get("path_params", {}).items():
        path = path.replace(str(value), f"{{{name}}}")
    return path
