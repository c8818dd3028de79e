"""Replicas of the echo service as processes behind one gRPC target, for restarts under load.

    async with Replicas.started(folder, database_url, engine="grpcio") as replicas:
        stub = EchoServiceStub(replicas.channel())
        await replicas.restart(0)

Run as a program, this module is one replica: `mesh.serving.process.main` with an echo service that answers Echo with
its process id.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import grpc.aio
import structlog

from contracts.service_config import service_config
from interceptors.chain.channel import ChainedChannel
from interceptors.keys.keyring import mint_key, record_of_key
from mesh.config import Settings, child_environment
from mesh.serving.channel import channel_options, client_interceptors
from mesh.serving.health_probe import SERVING, probe_of
from mesh.serving.keyring_file import format_keyring
from mesh.serving.process import main
from mesh.serving.service import Service
from solo60.example.v1 import echo_pb2
from solo60.example.v1.echo_pb2_grpc import add_EchoServiceServicer_to_server
from tests.support.echo import SCOPES, EchoServicer
from tests.support.ports import free_ports
from tests.support.serving import TEST_SETTINGS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mesh.serving.service import Runtime

ECHO = echo_pb2.DESCRIPTOR.services_by_name["EchoService"]
TIMEOUT_S = 60.0
# Pause before each message of a stream, so that a stop can begin during a stream.
PAUSE_S = 0.02


class Replicas:
    """Running replicas and the channels to them."""

    def __init__(self, folder: Path, database_url: str, number: int, **settings: object) -> None:
        self.key = mint_key("test")
        keyring = folder / "keyring.json"
        keyring.write_text(format_keyring([record_of_key(self.key, "tester", SCOPES)]))
        self._log = folder / "replicas.log"
        self._addresses = [f"127.0.0.1:{port}" for port in free_ports(number)]
        self._settings = {**TEST_SETTINGS, "keyring_file": keyring, "service_api_key": self.key, **settings}
        self._settings |= {"database_url": database_url, "trace_sample_ratio": 0}
        self._processes: list[asyncio.subprocess.Process] = []

    @classmethod
    @asynccontextmanager
    async def started(
        cls, folder: Path, database_url: str, *, number: int = 2, **settings: object
    ) -> AsyncIterator[Self]:
        """Start `number` replicas; stop all running ones at the end of the context."""
        replicas = cls(folder, database_url, number, **settings)
        try:
            for address in replicas._addresses:
                replicas._processes.append(await replicas._start(address))
            yield replicas
        finally:
            running = [process for process in replicas._processes if process.returncode is None]
            for process in running:
                process.terminate()
            for process in running:
                await process.wait()

    @property
    def log(self) -> str:
        """Combined log of all replicas."""
        return self._log.read_text()

    def channel(self, *, retries: bool = True) -> grpc.aio.Channel:
        """Connect to all replicas like a service, with all client interceptors and the contract's service config."""
        settings = Settings(_env_file=None, **TEST_SETTINGS)  # type: ignore[call-arg,arg-type]  # pydantic-settings' own argument
        target = f"ipv4:{','.join(self._addresses)}"
        options = [*channel_options(service_config(ECHO), target), ("grpc.enable_retries", int(retries))]
        channel = grpc.aio.insecure_channel(target, options=options)
        return ChainedChannel(channel, client_interceptors(settings, lambda: self.key))

    def pid(self, number: int) -> int:
        """Return the process id of one replica."""
        return self._processes[number].pid

    async def stop(self, number: int, *signals: signal.Signals) -> int:
        """Send `signals`, by default SIGTERM, to one replica and return its exit code."""
        process = self._processes[number]
        for each in signals or (signal.SIGTERM,):
            process.send_signal(each)
        async with asyncio.timeout(TIMEOUT_S):
            return await process.wait()

    async def restart(self, number: int) -> int:
        """Restart one replica and wait until it is SERVING; return the exit code of the stopped process."""
        code = await self.stop(number)
        self._processes[number] = await self._start(self._addresses[number])
        return code

    async def _start(self, address: str) -> asyncio.subprocess.Process:
        with self._log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                __name__,
                env=child_environment(**self._settings, listen_address=address),
                cwd=Path(__file__).parents[2],
                stdout=log,
                stderr=log,
            )
        async with asyncio.timeout(TIMEOUT_S), probe_of(address, ECHO.full_name) as probe:
            while await probe() != SERVING:
                assert process.returncode is None, self.log
                await asyncio.sleep(0.02)
        return process


class _Replica(EchoServicer):
    async def hook(self) -> None:
        await asyncio.sleep(PAUSE_S)

    async def Echo(self, request: echo_pb2.EchoRequest, context: Any) -> echo_pb2.EchoResponse:
        answer = await super().Echo(request, context)
        answer.text = str(os.getpid())
        return answer


@asynccontextmanager
async def _open(_runtime: Runtime) -> AsyncIterator[EchoServicer]:
    loop = asyncio.get_running_loop()
    structlog.stdlib.get_logger("tests").info("loop", of=type(loop).__module__, pid=os.getpid())
    yield _Replica()


if __name__ == "__main__":
    main(Service("echo", ECHO, add_EchoServiceServicer_to_server, _open, Path()))
