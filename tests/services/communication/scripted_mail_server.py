"""Mail server on a real socket that answers each SMTP command from a script and records the commands."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Self

CONNECT, MAIL_BODY = "CONNECT", "."
DEFAULT_ANSWERS = {
    CONNECT: "220 scripted",
    "EHLO": "250-scripted\r\n250 AUTH PLAIN",
    "HELO": "250 scripted",
    "AUTH": "235 2.7.0 welcome",
    "MAIL": "250 2.1.0 OK",
    "RCPT": "250 2.1.5 OK",
    "DATA": "354 go on",
    MAIL_BODY: "250 2.0.0 OK",
    "QUIT": "221 bye",
}


@dataclass
class ScriptedMailServer:
    """Mail server that answers each command with its entry in `answers`, or by default as servers usually do."""

    answers: dict[str, str] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)
    _server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """Port of the server."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        """URL of the server, with a login."""
        return f"smtp://solo60:secret@127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._answer(writer, CONNECT)
        async for line in reader:
            command = line.decode().strip()
            self.commands.append(command)
            verb = command.partition(" ")[0].upper()
            if self._answer(writer, command if command in self.answers else verb).startswith("354"):
                await reader.readuntil(b"\r\n.\r\n")
                self._answer(writer, MAIL_BODY)
            if verb == "QUIT":
                break
        writer.close()

    def _answer(self, writer: asyncio.StreamWriter, step: str) -> str:
        answer = self.answers.get(step) or DEFAULT_ANSWERS.get(step, "502 5.5.1 unknown")
        writer.write(f"{answer}\r\n".encode())
        return answer
