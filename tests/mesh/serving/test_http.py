"""HTTP listener of a service: limits, context, errors, access log and drain."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from typing import TYPE_CHECKING

import httpx
import pytest
import structlog
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from contracts.errors import InvalidRequest, Unavailable
from interceptors.context import current_context
from local.supervised_settings import HTTP_PORT_DISTANCE, environment_of_service, http_address_of
from mesh.config import Settings, SettingsError
from mesh.serving import http
from mesh.serving.http import serve_http
from mesh.serving.http_requests import GuardedApp, router_of
from services.gym.app import SERVICE as GYM
from tests.support.eventually import eventually
from tests.support.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Router

    from tests.support.serving import Serve

LIMIT = 1000
GRACE_S = 10.0


async def _echo(request: Request) -> Response:
    return PlainTextResponse(await request.body())


async def _correlation_id(_request: Request) -> Response:
    context = current_context()
    assert context is not None
    return PlainTextResponse(context.correlation_id)


async def _invalid(_request: Request) -> Response:
    raise InvalidRequest


async def _unavailable(_request: Request) -> Response:
    raise Unavailable


async def _broken(_request: Request) -> Response:
    raise RuntimeError("a secret")


async def _hang(_request: Request) -> Response:
    await asyncio.Event().wait()
    raise AssertionError


def app_for_tests() -> Router:
    """Return an application with one route for each kind of answer."""
    routes = {"/echo": _echo, "/id": _correlation_id, "/invalid": _invalid, "/unavailable": _unavailable}
    routes |= {"/broken": _broken, "/hang": _hang, "/mails/{address}": _echo}
    return router_of(*(Route(path, handler, methods=["GET", "POST"]) for path, handler in routes.items()))


@asynccontextmanager
async def client_of(timeout_s: float = 15.0) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of the guarded application, without a socket."""
    guarded = GuardedApp(app_for_tests(), max_body_bytes=LIMIT, timeout_s=timeout_s)
    transport = httpx.ASGITransport(guarded)
    async with httpx.AsyncClient(transport=transport, base_url="http://solo60.example") as client:
        yield client


async def test_a_request_has_a_correlation_id() -> None:
    """The work of a request has the correlation id of the header, or a new one; the response carries it."""
    async with client_of() as client:
        given = await client.get("/id", headers={"x-correlation-id": "abcdefgh"})
        made = await client.get("/id")

    assert (given.text, given.headers["x-correlation-id"]) == ("abcdefgh", "abcdefgh")
    assert made.text == made.headers["x-correlation-id"] != "abcdefgh"


@pytest.mark.parametrize(
    ("path", "status", "reason"),
    [
        ("/invalid", 400, "INVALID_REQUEST"),
        ("/unavailable", 503, "UNAVAILABLE"),
        ("/broken", 500, "INTERNAL"),
        ("/hang", 504, "DEADLINE_EXCEEDED"),
    ],
)
async def test_an_error_has_a_status_and_a_reason(path: str, status: int, reason: str) -> None:
    """An error is answered with the HTTP status of its code, its reason and the correlation id, and nothing else."""
    async with client_of(timeout_s=0.2) as client:
        answer = await client.get(path)

    assert answer.status_code == status
    assert answer.json() == {"reason": reason, "correlation_id": answer.headers["x-correlation-id"]}


async def test_a_body_beyond_the_limit_is_rejected() -> None:
    """A body beyond the limit is answered with 413, with an announced length and without."""

    async def in_chunks() -> AsyncIterator[bytes]:
        for _ in range(LIMIT + 1):
            yield b"x"

    async with client_of() as client:
        whole = await client.post("/echo", content=b"x" * LIMIT)
        announced = await client.post("/echo", content=b"x" * (LIMIT + 1))
        chunked = await client.post("/echo", content=in_chunks())

    assert (whole.status_code, len(whole.content)) == (200, LIMIT)
    assert [answer.status_code for answer in (announced, chunked)] == [413, 413]


@pytest.mark.parametrize("framing", ["Content-Length: 20", "Transfer-Encoding: chunked"])
async def test_a_truncated_body_is_not_processed(framing: str) -> None:
    """If the client closes the connection within the body, the application does not run."""
    bodies = []

    async def record(request: Request) -> Response:
        bodies.append(await request.body())
        return PlainTextResponse()

    [port] = free_ports(1)
    app = router_of(Route("/", record, methods=["POST"]))
    with structlog.testing.capture_logs() as lines:
        async with serve_http(app, f"127.0.0.1:{port}", GRACE_S):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"POST / HTTP/1.1\r\nHost: solo60.example\r\n{framing}\r\n\r\n5\r\nhello\r\n".encode())
            await writer.drain()
            writer.close()
            await eventually(lambda: any(line["event"] == "http" for line in lines))

    assert [line["status"] for line in lines if line["event"] == "http"] == [499]
    assert bodies == []


async def test_no_redirect_leads_to_the_host_in_the_header() -> None:
    """A path with another slash at its end is unknown, and not redirected to a host that the client names."""
    async with client_of() as client:
        answer = await client.get("/id/", headers={"host": "evil.example"})

    assert (answer.status_code, answer.headers.get("location")) == (404, None)


async def test_the_access_log_shows_the_route() -> None:
    """The access log shows route and status, and neither path parameters nor the query."""
    with structlog.testing.capture_logs() as lines:
        async with client_of() as client:
            await client.get("/mails/ada@example.org?token=secret")
            await client.get("/ada@example.org")

    routes = [(line["route"], line["status"]) for line in lines if line["event"] == "http"]
    assert routes == [("/mails/{address}", 200), ("", 404)]
    assert "ada@" not in json.dumps(lines)
    assert "secret" not in json.dumps(lines)


async def test_a_running_request_ends_before_the_listener() -> None:
    """When the listener stops, new connections are refused, and a running request gets its response."""
    begun, release = asyncio.Event(), asyncio.Event()

    async def waiting(_request: Request) -> Response:
        begun.set()
        await release.wait()
        return PlainTextResponse("done")

    [port] = free_ports(1)
    app, url = router_of(Route("/", waiting)), f"http://127.0.0.1:{port}/"
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        async with serve_http(app, f"127.0.0.1:{port}", GRACE_S):
            running = asyncio.create_task(client.get(url))
            await begun.wait()
            releasing = asyncio.create_task(release_once_refused(port, release))
        answer = await running
        await releasing

    assert (answer.status_code, answer.text) == (200, "done")


async def release_once_refused(port: int, release: asyncio.Event) -> None:
    """Wait until the port refuses connections, and then set `release`."""

    async def refuses() -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            return True
        writer.transport.abort()
        return False

    await eventually(refuses)
    release.set()


async def test_a_connection_without_a_request_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that sends no complete header in time is closed."""
    monkeypatch.setattr(http, "HEADER_TIMEOUT_S", 0.1)
    [port] = free_ports(1)
    async with serve_http(app_for_tests(), f"127.0.0.1:{port}", GRACE_S), asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /echo HTTP/1.1\r\nHost: ")
        assert await reader.read() == b""
        writer.close()


async def test_a_service_serves_its_http_at_the_address_of_the_setting(serve: Serve) -> None:
    """A service with an HTTP part serves it at HTTP_ADDRESS, beside its gRPC server, and ends it first."""
    [port] = free_ports(1)
    service = replace(GYM, http=lambda _runtime: app_for_tests())
    mesh = await serve(service, http_address=f"127.0.0.1:{port}")

    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.post(f"http://127.0.0.1:{port}/echo", content=b"hello")
        await mesh.stop("gym")
        with pytest.raises(httpx.ConnectError):
            await client.get(f"http://127.0.0.1:{port}/echo")

    assert (answer.status_code, answer.text) == (200, "hello")


async def test_an_address_in_use_stops_the_start() -> None:
    """An HTTP_ADDRESS that is in use stops the start with an error that names the setting."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(SettingsError, match=r"^HTTP_ADDRESS: .* is in use or is not an address of this machine\.$"):
            async with serve_http(app_for_tests(), address, GRACE_S):
                pass


def test_each_service_of_a_local_mesh_has_its_own_http_address() -> None:
    """Each service of a local mesh may serve HTTP at its port plus 600, unless that port is in use."""
    [free] = free_ports(1)
    url = f"127.0.0.1:{free - HTTP_PORT_DISTANCE}"
    settings = Settings(_env_file=None, subscription_service_url=url)  # type: ignore[call-arg]  # pydantic-settings' own argument

    assert http_address_of(settings, "subscription") == f"127.0.0.1:{free}"
    assert environment_of_service(settings, "subscription")["HTTP_ADDRESS"] == f"127.0.0.1:{free}"
    with closing(socket.create_server(("127.0.0.1", free))):
        assert http_address_of(settings, "subscription") is None
