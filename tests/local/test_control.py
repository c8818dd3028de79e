from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from local.control import HOST, Address, ControlError, give_order, orders_taken
from local.folder_lock import folder_locked

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from local.control import Obey


@asynccontextmanager
async def mesh_in(folder: Path, obey: Obey) -> AsyncIterator[Address]:
    """Accept orders for a mesh that runs in `folder`."""
    with folder_locked(folder) as lock:
        async with orders_taken(obey) as address:
            lock.publish(**address.as_facts())
            yield address


async def echo(order: Mapping[str, Any]) -> dict[str, object]:
    """Answer with the order itself."""
    return dict(order)


async def say(address: Address, line: bytes) -> bytes:
    """Send a raw line to the mesh; return its answer."""
    reader, writer = await asyncio.open_connection(HOST, address.port)
    writer.write(line)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_an_order_reaches_the_mesh_of_its_folder(tmp_path: Path) -> None:
    """The mesh of a folder receives an order unchanged and without its token."""
    async with mesh_in(tmp_path, echo):
        assert await give_order(tmp_path, verb="restart", part="gym") == {"verb": "restart", "part": "gym"}


async def test_a_refused_order_raises_the_error_of_the_mesh(tmp_path: Path) -> None:
    """A refused order raises ControlError with the mesh's own message."""

    async def refuse(_order: Mapping[str, Any]) -> dict[str, object]:
        raise ControlError("gym did not start.")

    async with mesh_in(tmp_path, refuse):
        with pytest.raises(ControlError, match=r"^gym did not start\.$"):
            await give_order(tmp_path, verb="restart", part="gym")


@pytest.mark.parametrize(
    "line",
    [b"", b"\n", b"{}\n", b"[]\n", b'{"verb": "restart"}\n', b'{"token": "\xff"}\n', b'{"token": 5}\n', b"x" * 100_000],
)
async def test_orders_without_the_token_are_ignored(tmp_path: Path, line: bytes) -> None:
    """Only orders with the token from the lock file are executed. Other lines get no answer."""
    heard: list[object] = []

    async def obey(order: Mapping[str, Any]) -> dict[str, object]:
        heard.append(order)
        return {}

    async with mesh_in(tmp_path, obey) as address:
        assert await say(address, line) == b""
        assert await say(address, json.dumps({"token": "a" * 43, "verb": "restart"}).encode() + b"\n") == b""
        assert await give_order(tmp_path) == {}

    assert heard == [{}]


async def test_an_order_without_a_running_mesh_fails(tmp_path: Path) -> None:
    """An order fails if no mesh runs in the folder or the mesh is still starting."""
    with pytest.raises(ControlError, match="No mesh runs in"):
        await give_order(tmp_path)
    with folder_locked(tmp_path), pytest.raises(ControlError, match="is still starting"):
        await give_order(tmp_path)


async def test_a_pending_order_fails_when_the_mesh_stops(tmp_path: Path) -> None:
    """An order that is pending when the mesh stops fails instead of waiting."""
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
