from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from local.control import HOST, ControlAddress, ControlError, send_command, serve_commands
from local.folder_lock import lock_folder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from local.control import Handler


@asynccontextmanager
async def mesh_in(folder: Path, handle: Handler) -> AsyncIterator[ControlAddress]:
    """Accept commands for a mesh that runs in `folder`."""
    with lock_folder(folder) as lock:
        async with serve_commands(handle) as address:
            lock.publish(**address.as_facts())
            yield address


async def echo(command: Mapping[str, Any]) -> dict[str, object]:
    """Answer with the command itself."""
    return dict(command)


async def send_line(address: ControlAddress, line: bytes) -> bytes:
    """Send a raw line to the mesh; return its answer."""
    reader, writer = await asyncio.open_connection(HOST, address.port)
    writer.write(line)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_a_command_reaches_the_mesh_of_its_folder(tmp_path: Path) -> None:
    """The mesh of a folder receives a command unchanged and without its token."""
    async with mesh_in(tmp_path, echo):
        assert await send_command(tmp_path, verb="restart", part="gym") == {"verb": "restart", "part": "gym"}


async def test_a_rejected_command_raises_the_error_of_the_mesh(tmp_path: Path) -> None:
    """A rejected command raises ControlError with the mesh's own message."""

    async def refuse(_command: Mapping[str, Any]) -> dict[str, object]:
        raise ControlError("gym did not start.")

    async with mesh_in(tmp_path, refuse):
        with pytest.raises(ControlError, match=r"^gym did not start\.$"):
            await send_command(tmp_path, verb="restart", part="gym")


@pytest.mark.parametrize(
    "line",
    [b"", b"\n", b"{}\n", b"[]\n", b'{"verb": "restart"}\n', b'{"token": "\xff"}\n', b'{"token": 5}\n', b"x" * 100_000],
)
async def test_commands_without_the_token_are_ignored(tmp_path: Path, line: bytes) -> None:
    """Only commands with the token from the lock file are executed. Other lines get no answer."""
    received: list[object] = []

    async def handle(command: Mapping[str, Any]) -> dict[str, object]:
        received.append(command)
        return {}

    async with mesh_in(tmp_path, handle) as address:
        assert await send_line(address, line) == b""
        assert await send_line(address, json.dumps({"token": "a" * 43, "verb": "restart"}).encode() + b"\n") == b""
        assert await send_command(tmp_path) == {}

    assert received == [{}]


async def test_a_command_without_a_running_mesh_fails(tmp_path: Path) -> None:
    """A command fails if no mesh runs in the folder or the mesh is still starting."""
    with pytest.raises(ControlError, match="No mesh runs in"):
        await send_command(tmp_path)
    with lock_folder(tmp_path), pytest.raises(ControlError, match="is still starting"):
        await send_command(tmp_path)


async def test_a_pending_command_fails_when_the_mesh_stops(tmp_path: Path) -> None:
    """A command that is pending when the mesh stops fails instead of waiting."""
    begun = asyncio.Event()

    async def never_answer(_command: Mapping[str, Any]) -> dict[str, object]:
        begun.set()
        await asyncio.Event().wait()
        return {}

    async with mesh_in(tmp_path, never_answer):
        command = asyncio.create_task(send_command(tmp_path))
        await begun.wait()

    with pytest.raises(ControlError, match="stopped before it answered"):
        await command
