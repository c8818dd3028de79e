"""Rotation of a caller's keys under load, with the steps of `solo60 keys`."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import grpc.aio

from contracts.errors import ServiceError
from interceptors.chain.channel import ChainedChannel
from interceptors.chain.server import ServerChain
from interceptors.keys.interceptor import ClientApiKey, ServerApiKey
from interceptors.keys.keyring import id_of_key
from interceptors.propagation import ClientContext, ServerContext
from local.keys import write_key
from mesh.config import Settings
from mesh.serving.keyring_file import KeyringFile, accepted_keys, own_key
from mesh.serving.watched_file import RELOAD_INTERVAL_S
from solo60.example.v1 import echo_pb2
from solo60.example.v1.echo_pb2_grpc import EchoServiceStub, add_EchoServiceServicer_to_server
from tests.support.echo import SCOPES, EchoServicer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from solo60.example.v1.echo_pb2_grpc import EchoServiceAsyncStub

CALLER = "session"
INTERVAL_S = 1 / 200
HI = echo_pb2.EchoRequest(text="hi")


class Rotation:
    """Server, a caller with 200 calls per second, and the keyring and key files of both."""

    def __init__(self, folder: Path) -> None:
        self.keyring = KeyringFile(folder / "keyring.json")
        self.key_path = folder / "key"
        self.key = self.keyring.issue(CALLER, SCOPES)
        write_key(self.key_path, self.key)
        self.settings = Settings(
            _env_file=None,  # type: ignore[call-arg]  # pydantic-settings' own argument
            keyring_file=folder / "keyring.json",
            service_api_key_file=self.key_path,
        )
        self.port = 0
        self.calls: list[asyncio.Task[str]] = []

    async def rotate(self) -> None:
        """Add a new key to the keyring, then write it to the caller's file; revoke the old key after its last call."""
        old, self.key = self.key, self.keyring.rotate(CALLER, timedelta(hours=1))
        await asyncio.sleep(2 * RELOAD_INTERVAL_S)
        write_key(self.key_path, self.key)
        await asyncio.sleep(2 * RELOAD_INTERVAL_S)
        await asyncio.wait(list(self.calls))
        self.keyring.revoke(id_of_key(old) or "")

    async def call_with(self, key: str) -> str:
        """Call once with `key`; return the answer's text or the error's reason."""
        async with self._connected(ClientApiKey(lambda: key)) as stub:
            return await _answer(stub)

    async def call_continuously(self) -> None:
        """Start calls at a fixed rate until cancelled, without waiting for earlier answers."""
        async with self._connected(ClientApiKey(own_key(self.settings))) as stub:
            try:
                while True:
                    self.calls.append(asyncio.create_task(_answer(stub)))
                    await asyncio.sleep(INTERVAL_S)
            finally:
                await asyncio.wait(self.calls)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Run the server within the context."""
        chain = ServerChain([ServerContext(), ServerApiKey(accepted_keys(self.settings))])
        server = grpc.aio.server(interceptors=[chain])
        add_EchoServiceServicer_to_server(EchoServicer(), server)
        self.port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            yield
        finally:
            await server.stop(0)

    @asynccontextmanager
    async def _connected(self, key: ClientApiKey) -> AsyncIterator[EchoServiceAsyncStub]:
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{self.port}")
        async with ChainedChannel(channel, [ClientContext(), key]) as channel:
            yield EchoServiceStub(channel)


async def _answer(stub: EchoServiceAsyncStub) -> str:
    try:
        return (await stub.Echo(HI)).text
    except ServiceError as error:
        return error.reason_name()


async def rotate_under_load(folder: Path, rotations: int) -> list[str]:
    """Rotate the key `rotations` times; return the answers to all calls meanwhile.

    Assert after each rotation that the server rejects the revoked key after two reload intervals.
    """
    rotation = Rotation(folder)
    async with rotation.serving():
        calling = asyncio.create_task(rotation.call_continuously())
        await asyncio.sleep(INTERVAL_S)
        for _ in range(rotations):
            old = rotation.key
            await rotation.rotate()
            await asyncio.sleep(2 * RELOAD_INTERVAL_S)
            assert await rotation.call_with(old) == "UNAUTHENTICATED"
        calling.cancel()
        await asyncio.wait([calling])
    return [call.result() for call in rotation.calls]
