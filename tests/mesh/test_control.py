from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from mesh.control import HOST, Address, ControlError, give_order, orders_taken
from mesh.folder_lock import folder_locked

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from mesh.control import Obey


@asynccontextmanager
async def mesh_in(folder: Path, obey: Obey) -> AsyncIterator[Address]:
    """Take orders in the name of a mesh that runs in `folder`."""
    with folder_locked(folder) as lock:
        async with orders_taken(obey) as address:
            lock.publish(**address.as_facts())
            yield address


async def echo(order: Mapping[str, Any]) -> dict[str, object]:
    """Answer with the order."""
    return dict(order)


async def say(address: Address, line: bytes) -> bytes:
    """Return what a mesh answers to a line of a stranger."""
    reader, writer = await asyncio.open_connection(HOST, address.port)
    writer.write(line)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_an_order_reaches_the_mesh_of_its_folder(tmp_path: Path) -> None:
    """The order is found as it was given, without the token."""
    async with mesh_in(tmp_path, echo):
        assert await give_order(tmp_path, verb="restart", part="gym") == {"verb": "restart", "part": "gym"}


async def test_a_refusal_is_the_callers_error(tmp_path: Path) -> None:
    """With the mesh's own sentence."""

    async def refuse(_order: Mapping[str, Any]) -> dict[str, object]:
        raise ControlError("gym did not start.")

    async with mesh_in(tmp_path, refuse):
        with pytest.raises(ControlError, match=r"^gym did not start\.$"):
            await give_order(tmp_path, verb="restart", part="gym")


@pytest.mark.parametrize(
    "line",
    [b"", b"\n", b"{}\n", b"[]\n", b'{"verb": "restart"}\n', b'{"token": "\xff"}\n', b'{"token": 5}\n', b"x" * 100_000],
)
async def test_who_does_not_know_the_token_is_not_heard(tmp_path: Path, line: bytes) -> None:
    """Any local process can connect; only the owner of the lock file can give orders."""
    heard: list[object] = []

    async def obey(order: Mapping[str, Any]) -> dict[str, object]:
        heard.append(order)
        return {}

    async with mesh_in(tmp_path, obey) as address:
        assert await say(address, line) == b""
        assert await say(address, json.dumps({"token": "a" * 43, "verb": "restart"}).encode() + b"\n") == b""
        assert await give_order(tmp_path) == {}

    assert heard == [{}]


async def test_without_a_mesh_an_order_says_so(tmp_path: Path) -> None:
    """Also while one starts, and after one was killed."""
    with pytest.raises(ControlError, match="No mesh runs in"):
        await give_order(tmp_path)
    with folder_locked(tmp_path), pytest.raises(ControlError, match="is still starting"):
        await give_order(tmp_path)


async def test_a_mesh_that_stops_leaves_no_order_waiting(tmp_path: Path) -> None:
    """The caller learns that nobody will answer."""
    begun = asyncio.Event()

    async def never(_order: Mapping[str, Any]) -> dict[str, object]:
        begun.set()
        await asyncio.Event().wait()
        return {}

    async with mesh_in(tmp_path, never):
        order = asyncio.create_task(give_order(tmp_path))
        await begun.wait()

    with pytest.raises(ControlError, match="stopped before it answered"):
        await order
