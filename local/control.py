"""Control socket of a running mesh: other processes of its user restart parts or query their states.

The mesh listens on a free port of 127.0.0.1. The lock file holds the port and a token, and only its owner can read it.
A socket in DATA_DIR would need a path shorter than 108 bytes, and a file would need free disk space. A command and its
answer are one line of JSON each.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from local.folder_lock import read_published
from mesh.failure import Failure

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from pathlib import Path

    Command = Mapping[str, Any]
    Handler = Callable[[Command], Awaitable[Mapping[str, object]]]

HOST = "127.0.0.1"
COMMAND_TIMEOUT_S = 5.0
TOKEN_BYTES = 32


class ControlError(Failure):
    """Failure of a command that did not reach the mesh or failed there; the message gives the reason."""


@dataclass(frozen=True, slots=True)
class ControlAddress:
    """Port of a mesh's control socket, and the token that authenticates its owner."""

    port: int
    token: str

    def as_facts(self) -> dict[str, str]:
        """Return the address in the form published in the lock file."""
        return {"control_port": str(self.port), "control_token": self.token}


@asynccontextmanager
async def serve_commands(handle: Handler) -> AsyncIterator[ControlAddress]:
    """Accept commands while the context is open, and yield the address for them.

    `handle` returns the answer to a command. A ControlError that it raises becomes an error answer.
    """
    token = secrets.token_urlsafe(TOKEN_BYTES)
    running: set[asyncio.Task[object]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in a task
        running.add(task)
        try:
            with suppress(OSError, TimeoutError, ValueError):  # a stranger, or a caller that has disconnected
                await _handle_connection(handle, token, reader, writer)
        finally:
            writer.close()
            running.discard(task)

    server = await asyncio.start_server(accept, HOST, 0)
    try:
        yield ControlAddress(server.sockets[0].getsockname()[1], token)
    finally:
        server.close()
        for task in list(running):
            task.cancel()
        if running:
            await asyncio.wait(running)


async def _handle_connection(
    handle: Handler, token: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    async with asyncio.timeout(COMMAND_TIMEOUT_S):
        command = json.loads(await reader.readline())
    if isinstance(command, dict) and secrets.compare_digest(str(command.pop("token", "")).encode(), token.encode()):
        writer.write(json.dumps(await _answer(handle, command)).encode() + b"\n")
        await writer.drain()


async def _answer(handle: Handler, command: Command) -> Mapping[str, object]:
    try:
        return await handle(command)
    except ControlError as error:
        return {"error": str(error)}


async def send_command(folder: Path, **command: object) -> dict[str, Any]:
    """Send a command to the mesh that runs in `folder`, and return its answer; raise ControlError if it fails."""
    address = find_mesh(folder)
    try:
        reader, writer = await asyncio.open_connection(HOST, address.port)
        writer.write(json.dumps({"token": address.token, **command}).encode() + b"\n")
        line = await reader.readline()
        writer.close()
        await writer.wait_closed()
    except OSError as error:
        raise ControlError(f"The mesh does not accept connections on its control port: {error.strerror}.") from None
    if not line:
        raise ControlError("The mesh stopped before it answered.")
    answer: dict[str, Any] = json.loads(line)
    if "error" in answer:
        raise ControlError(str(answer["error"]))
    return answer


def find_mesh(folder: Path) -> ControlAddress:
    """Return the control address of the mesh that runs in `folder`; raise ControlError if none is ready."""
    facts = read_published(folder)
    if facts is None:
        raise ControlError(f"No mesh runs in {folder.absolute()}: `make run` starts it.")
    try:
        return ControlAddress(int(str(facts["control_port"])), str(facts["control_token"]))
    except KeyError:
        raise ControlError(f"The mesh in {folder.absolute()} is still starting. Try again later.") from None
