from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import grpc
import pytest

from mesh.config import Settings
from mesh.serving.channel import Channels
from mesh.serving.key_channels import KeyChannels
from solo60.gym.v1.gym_pb2 import ListGymsRequest
from solo60.gym.v1.gym_pb2_grpc import GymServiceStub
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def silent_server() -> AsyncIterator[str]:
    """Run a server that accepts connections and never answers, and yield its address."""
    leave = asyncio.Event()

    async def accept(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await leave.wait()
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        host, port = server.sockets[0].getsockname()
        yield f"{host}:{port}"
    finally:
        leave.set()
        server.close()


@pytest.fixture
async def address() -> AsyncIterator[str]:
    """Return the address of a server that never answers."""
    async with silent_server() as found:
        yield found


@asynccontextmanager
async def two_keys(address: str, grace_s: float = 60) -> AsyncIterator[KeyChannels]:
    """Yield channels for at most two keys, to one address."""
    settings = Settings(_env_file=None, gym_service_url=address, deadline_factor=1000)  # type: ignore[call-arg]  # of pydantic
    found = KeyChannels(lambda key: Channels(settings, lambda: key), most=2, grace_s=grace_s)
    try:
        yield found
    finally:
        await found.close()


async def test_a_key_keeps_its_channels(address: str) -> None:
    """The same key has the same channels, and another key has others."""
    async with two_keys(address) as key_channels:
        first = key_channels.of("a")

        assert key_channels.of("a") is first
        assert key_channels.of("b") is not first


async def test_the_key_with_the_oldest_use_makes_room(address: str) -> None:
    """One more key closes the channels of the key with the oldest use, and no others."""
    async with two_keys(address, grace_s=0) as key_channels:
        channels = {key: key_channels.of(key).channel("gym") for key in ("a", "b")}
        key_channels.of("a")
        key_channels.of("c")

        await eventually(lambda: channels["b"].get_state() is grpc.ChannelConnectivity.SHUTDOWN)
        assert channels["a"].get_state() is not grpc.ChannelConnectivity.SHUTDOWN


async def test_a_running_call_goes_on(address: str) -> None:
    """A call of a key that made room goes on. The end of the process cancels the call."""
    async with two_keys(address) as key_channels:
        call = key_channels.of("a").stub(GymServiceStub).ListGyms(ListGymsRequest(), timeout=60)
        for key in ("b", "c"):
            key_channels.of(key)
        for _ in range(10):
            await asyncio.sleep(0)

        assert not call.done()
    assert call.cancelled()
