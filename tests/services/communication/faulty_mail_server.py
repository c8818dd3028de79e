"""Mail server on a real socket that rejects mails, stalls or hangs up as the test requests."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from aiosmtpd.smtp import SMTP

if TYPE_CHECKING:
    from aiosmtpd.smtp import Envelope, Session

HANG_UP = "hang up"
# Real servers repeat the address in their answers.
BUSY = "451 4.7.1 <ada@example.org> greylisted, Ada Lovelace shall try later"
UNKNOWN = "550 5.1.1 <ada@example.org> no such user here, Ada Lovelace"


@dataclass(frozen=True, slots=True)
class Received:
    """One mail that was offered to the server."""

    recipients: tuple[str, ...]
    content: bytes
    is_accepted: bool


@dataclass
class FaultyMailServer:
    """Mail server that answers each mail with the next of `answers`, and accepts it when there is none left.

    `refused` maps a recipient's address to the answer, which is used once. While `answering` is not set, the server
    receives mails and sends no answer.
    """

    answers: deque[str] = field(default_factory=deque)
    refused: dict[str, str] = field(default_factory=dict)
    received: list[Received] = field(default_factory=list)
    answering: asyncio.Event = field(default_factory=asyncio.Event)
    _server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """URL of the server."""
        assert self._server is not None
        return f"smtp://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    @property
    def accepted(self) -> list[Received]:
        """Mails that the server accepted."""
        return [each for each in self.received if each.is_accepted]

    async def __aenter__(self) -> Self:
        self.answering.set()
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: SMTP(self, hostname="localhost"), "127.0.0.1", 0)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def handle_RCPT(
        self, server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        """Answer RCPT."""
        answer = self.refused.pop(address, "250 OK")
        if answer == HANG_UP:
            await _hang_up(server)
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: SMTP, _session: Session, envelope: Envelope) -> str:
        """Answer DATA."""
        answer = self.answers.popleft() if self.answers else "250 OK"
        content = envelope.original_content or b""
        self.received.append(Received(tuple(envelope.rcpt_tos), content, answer.startswith("250")))
        if answer == HANG_UP:
            await _hang_up(server)
        await self.answering.wait()
        return answer

    async def handle_RSET(self, _server: SMTP, _session: Session, _envelope: Envelope) -> str:
        """Never answer RSET. The earlier answers remain valid."""
        await asyncio.Event().wait()
        raise AssertionError


async def _hang_up(server: SMTP) -> None:
    assert isinstance(server.transport, asyncio.Transport)
    server.transport.abort()
    await asyncio.Event().wait()  # cancelled when the connection closes
