from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from operations.metrics.page import MAX_BYTES, UnreadablePage, read_page
from tests.support.http_answers import HttpAnswers
from tests.support.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import Callable

TIMEOUT_S = 0.2


async def test_a_page_is_read_without_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page is read directly, whatever proxies the environment names."""
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_ports(1)[0]}")
    async with HttpAnswers("up 1") as server:
        assert await read_page(f"http://127.0.0.1:{server.port}/metrics") == "up 1"
        assert [request.first_line for request in server.requests] == ["GET /metrics HTTP/1.1"]


async def test_an_address_without_a_listener_is_named() -> None:
    """The error of an address without a listener names the address."""
    (port,) = free_ports(1)
    with pytest.raises(UnreadablePage, match=rf"^127\.0\.0\.1:{port} refuses connections\.$"):
        await read_page(f"http://127.0.0.1:{port}/metrics")


def _status_404(server: HttpAnswers) -> None:
    server.status = 404


def _huge(server: HttpAnswers) -> None:
    server.body = "x" * (MAX_BYTES + 1)


def _silent(server: HttpAnswers) -> None:
    server.answers = False


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_status_404, "answered with HTTP status 404"),
        (_huge, "answered with more than 8 MiB"),
        (_silent, "did not answer within 0.2 s"),
    ],
)
async def test_an_unreadable_page_gives_the_reason(change: Callable[[HttpAnswers], None], reason: str) -> None:
    """A missing page, a page without an end and a silent server each end with their reason."""
    async with HttpAnswers() as server:
        change(server)
        timeout_s = TIMEOUT_S if change is _silent else 30.0
        with pytest.raises(UnreadablePage, match=rf"^127\.0\.0\.1:{server.port} {reason}\.$"):
            await read_page(f"http://127.0.0.1:{server.port}/metrics", timeout_s)


async def test_a_server_that_sends_slowly_is_given_up() -> None:
    """A server that sends a byte now and then delays the reader no longer than a silent one, and is disconnected."""
    disconnected = asyncio.Event()

    async def drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                writer.write(b"H")
                await writer.drain()
                await asyncio.sleep(TIMEOUT_S / 10)
        except OSError:
            disconnected.set()

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    async with server:
        began = time.monotonic()
        with pytest.raises(UnreadablePage, match=r"did not answer within 0\.2 s"):
            await read_page(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/metrics", TIMEOUT_S)
        assert time.monotonic() - began < 30 * TIMEOUT_S
        async with asyncio.timeout(30):
            await disconnected.wait()
