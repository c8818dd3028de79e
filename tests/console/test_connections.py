"""Limits of HTTP connections, around a small application on a real socket: no mesh and no browser."""

from __future__ import annotations

import socket
from threading import Thread
from typing import TYPE_CHECKING

import pytest
import uvicorn
from starlette.responses import PlainTextResponse

from console import connections
from console.connections import MAX_HEAD_BYTES, LimitedConnection

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import Receive, Scope, Send

TIMEOUT_S = 10.0
HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
BODY = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n"


async def _app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["method"] == "POST":
        while (await receive()).get("more_body"):
            pass
    await PlainTextResponse("done")(scope, receive, send)


@pytest.fixture
def address() -> Iterator[tuple[str, int]]:
    """Serve the application with the limits of the console, in a thread."""
    config = uvicorn.Config(_app, http=LimitedConnection, lifespan="off", log_config=None, access_log=False)
    server, listener = uvicorn.Server(config), socket.create_server(("127.0.0.1", 0))
    thread = Thread(target=lambda: server.run([listener]))
    thread.start()
    yield listener.getsockname()
    server.should_exit = True
    thread.join()


def answer_to(address: tuple[str, int], sent: bytes) -> bytes:
    """Send bytes and return everything that comes until the server closes the connection."""
    with socket.create_connection(address, TIMEOUT_S) as connection:
        connection.sendall(sent)
        return connection.makefile("rb").read()


@pytest.mark.parametrize(
    "sent", [b"", b"GET / HT", HEAD, BODY, BODY + b"some"], ids=["", "line", "head", "body", "part"]
)
def test_a_slow_request_loses_its_connection(
    monkeypatch: pytest.MonkeyPatch, address: tuple[str, int], sent: bytes
) -> None:
    """A client that does not complete its request in time makes room for others."""
    monkeypatch.setattr(connections, "REQUEST_TIMEOUT_S", 0.1)

    assert b"200 OK" not in answer_to(address, sent)


def test_a_slow_second_request_loses_its_connection(monkeypatch: pytest.MonkeyPatch, address: tuple[str, int]) -> None:
    """The limit is that of each request, and not only that of the first one."""
    monkeypatch.setattr(connections, "REQUEST_TIMEOUT_S", 0.1)

    with socket.create_connection(address, TIMEOUT_S) as connection:
        connection.sendall(HEAD + b"\r\n")
        assert connection.recv(1_000).startswith(b"HTTP/1.1 200 OK")
        connection.sendall(HEAD)
        assert b"200 OK" not in connection.makefile("rb").read()


def test_an_endless_header_is_refused(address: tuple[str, int]) -> None:
    """A header takes at most MAX_HEAD_BYTES of memory, and one that is nearly as long is accepted."""
    close = b"Connection: close\r\nX: "

    assert b"200 OK" in answer_to(address, HEAD + close + b"x" * (MAX_HEAD_BYTES - 1_000) + b"\r\n\r\n")
    assert b"400 Bad" in answer_to(address, HEAD + close + b"x" * (MAX_HEAD_BYTES + 1_000))
