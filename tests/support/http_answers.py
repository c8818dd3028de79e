"""HTTP server for tests that records requests and answers all of them alike, or not at all."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from tests.support.recording_server import HOST, RecordingServer

if TYPE_CHECKING:
    from tests.support.http_messages import HttpMessage


class HttpAnswers(RecordingServer):
    """Server that answers each request with `status` and `body`, or is silent if `answers` is false."""

    def __init__(self, body: str = "{}") -> None:
        super().__init__()
        self.status = 200
        self.body = body
        self.answers = True

    def stripe_settings(self, key: str = "sk_test_answers") -> dict[str, Any]:
        """Return the settings of a service for which this server is the card processor."""
        return {"stripe_api_key": SecretStr(key), "stripe_api_url": f"http://{HOST}:{self.port}"}

    async def answer(self, request: HttpMessage) -> bytes:
        if not self.answers:
            await asyncio.Event().wait()
        body = self.body.encode()
        return f"HTTP/1.1 {self.status} X\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
