"""NATS server with JetStream for tests, which can be killed and started again with the data in its folder.

    async def test_nothing_is_lost(nats: NatsServer) -> None:
        nats.kill()
        await nats.start()

The server is killed after the test.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.eventually import eventually
from tests.support.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

PROGRAM = str(Path(sys.executable).with_name("nats-server"))


class NatsServer:
    """NATS server that stores its streams in `folder`. `options` are added to its command line."""

    def __init__(self, folder: Path, *options: str) -> None:
        (self.port,) = free_ports(1)
        self.url = f"nats://127.0.0.1:{self.port}"
        folder.mkdir(exist_ok=True)
        address = ("-a", "127.0.0.1", "-p", str(self.port))
        store = ("-js", "-sd", str(folder), "-l", str(folder / "nats.log"))
        self._command = (PROGRAM, *address, *store, *options)

    async def start(self) -> None:
        """Start the server and wait until it accepts connections."""
        self._launch()

        async def answers() -> bool:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                return False
            writer.close()
            await writer.wait_closed()
            return True

        await eventually(answers)

    def kill(self) -> None:
        """Kill the server with SIGKILL."""
        self._process.kill()
        self._process.wait()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Suspend the server within the context, with its connections open."""
        self._process.send_signal(signal.SIGSTOP)
        os.waitpid(self._process.pid, os.WUNTRACED)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def _launch(self) -> None:
        self._process = subprocess.Popen(self._command)


@asynccontextmanager
async def run_nats(folder: Path, *options: str) -> AsyncIterator[NatsServer]:
    """Run a server within the context."""
    server = NatsServer(folder, *options)
    await server.start()
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture
async def nats(tmp_path: Path) -> AsyncIterator[NatsServer]:
    """Run a server for one test."""
    async with run_nats(tmp_path / "nats") as server:
        yield server
