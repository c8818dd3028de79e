"""Target of attacks: the echo service with all interceptors in its own process, with a report of its resources.

    python -m tests.attack.target FOLDER          # serves until its standard input closes

`Target` starts the process and connects to it. The process reports its running handlers, tasks, spans and calls on a
Unix socket in its folder. Its log is in the same folder.
"""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import subprocess
import sys
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import grpc.aio
import psutil
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

from contracts.service_config import service_config
from interceptors.chain.call import Call
from interceptors.chain.channel import ChainedChannel
from interceptors.chain.client import ClientCall as OutgoingCall
from interceptors.keys.keyring import Keyring, mint_key, record_of_key
from mesh.config import Settings, child_environment, load_settings
from mesh.serving.channel import channel_options, client_interceptors
from mesh.serving.event_loop import service_loop
from mesh.serving.health import Health
from mesh.serving.server import MeshServer, server_interceptors
from mesh.serving.service import Service
from mesh.telemetry.setup import set_up_logging
from solo60.example.v1 import echo_pb2
from solo60.example.v1.echo_pb2_grpc import EchoServiceStub, add_EchoServiceServicer_to_server
from solo60.mesh.v1.outbox_pb2_grpc import OutboxServiceServicer
from tests.support.echo import SCOPES, EchoServicer
from tests.support.serving import DEADLINE_FACTOR, NO_SHEDDING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan, Span

    from solo60.example.v1.echo_pb2_grpc import EchoServiceAsyncStub

ECHO_SERVICE = echo_pb2.DESCRIPTOR.services_by_name["EchoService"]
CALLER = "tester"
HANDLER_DURATION_S = 0.002
START_S = 60.0


class OpenSpans(SpanProcessor):
    """Counter of unfinished spans."""

    def __init__(self) -> None:
        self.now = 0

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        self.now += 1

    def on_end(self, span: ReadableSpan) -> None:
        self.now -= 1


class CountingServicer(EchoServicer):
    """Echo servicer that counts its running handlers."""

    def __init__(self) -> None:
        super().__init__()
        self.running_handlers = 0
        self.max_running_handlers = 0

    async def hook(self) -> None:
        """Count the handler while it sleeps for HANDLER_DURATION_S."""
        self.running_handlers += 1
        self.max_running_handlers = max(self.max_running_handlers, self.running_handlers)
        try:
            await asyncio.sleep(HANDLER_DURATION_S)
        finally:
            self.running_handlers -= 1


@dataclass(frozen=True, slots=True)
class TargetState:
    """Current resources of a target, and its highest number of concurrent handlers so far."""

    running_handlers: int
    max_running_handlers: int
    tasks: int
    open_spans: int
    calls: int


class Target:
    """Running target. `memory_bytes` and `files` describe its process."""

    def __init__(self, folder: Path, key: str, process: subprocess.Popen[bytes], port: int, engine: str) -> None:
        self.engine = engine
        self.log = folder / "log.jsonl"
        self.key = key
        self.port = port
        self.address = f"127.0.0.1:{port}"
        self._status_socket = folder / "status"
        self._process = process
        self._measured = psutil.Process(process.pid)

    @classmethod
    @contextmanager
    def started(cls, folder: Path, *, engine: str = "grpcio", **settings: object) -> Iterator[Target]:
        """Run a target within the context, with all its files in `folder`."""
        key = mint_key("test")
        (folder / "key").write_text(key)
        with (
            (folder / "log.jsonl").open("wb") as log,
            subprocess.Popen(
                [sys.executable, "-m", "tests.attack.target", str(folder)],
                env=child_environment(data_dir=folder, engine=engine, **settings),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
            ) as process,
        ):
            try:
                yield cls(folder, key, process, _port_of(folder, process), engine)
            finally:
                process.kill()

    @property
    def is_alive(self) -> bool:
        """Whether the target's process is running."""
        return self._process.poll() is None

    @property
    def memory_bytes(self) -> int:
        """Current resident memory of the target's process."""
        return int(self._measured.memory_info().rss)

    @property
    def files(self) -> int:
        """Current number of the process's open file descriptors."""
        return int(self._measured.num_fds())

    def state(self) -> TargetState:
        """Return the resources of the process after a garbage collection."""
        with socket.socket(socket.AF_UNIX) as status:
            status.settimeout(START_S)
            status.connect(str(self._status_socket))
            with status.makefile("rb") as answer:
                return TargetState(**json.loads(answer.read()))

    @asynccontextmanager
    async def stub(self) -> AsyncIterator[EchoServiceAsyncStub]:
        """Connect like a service, with all client interceptors and the contract's service config."""
        channel = grpc.aio.insecure_channel(self.address, options=channel_options(service_config(ECHO_SERVICE)))
        interceptors = client_interceptors(load_settings(deadline_factor=DEADLINE_FACTOR), lambda: self.key)
        async with ChainedChannel(channel, interceptors) as channel:
            yield EchoServiceStub(channel)


def _port_of(folder: Path, process: subprocess.Popen[bytes]) -> int:
    port = folder / "port"
    while not port.exists():
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
        raise AssertionError((folder / "log.jsonl").read_text())
    return int(port.read_text())


async def serve(folder: Path) -> None:
    """Serve until standard input closes."""
    # Load shedding would hide the effect of an attack on other callers.
    settings = load_settings(deadline_factor=DEADLINE_FACTOR, **NO_SHEDDING)
    set_up_logging(settings, "echo")
    spans = OpenSpans()
    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(spans)
    trace.set_tracer_provider(tracers)
    servicer = CountingServicer()
    health = Health(ECHO_SERVICE.full_name)
    server = _server(servicer, settings, health, (folder / "key").read_text())
    await health.set_ready(ready=True)
    await server.start("127.0.0.1:0")

    async def report(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        gc.collect()
        calls = sum(isinstance(each, Call | OutgoingCall) for each in gc.get_objects())
        state = {"tasks": len(asyncio.all_tasks()), "open_spans": spans.now, "calls": calls}
        writer.write(
            json.dumps(
                {
                    "running_handlers": servicer.running_handlers,
                    "max_running_handlers": servicer.max_running_handlers,
                    **state,
                }
            ).encode()
        )
        await writer.drain()
        writer.close()

    async with await asyncio.start_unix_server(report, folder / "status"):
        unfinished = folder / "port.new"
        unfinished.write_text(str(server.port))
        unfinished.rename(folder / "port")
        await asyncio.to_thread(sys.stdin.buffer.read)
    await server.stop(0)


def _server(servicer: CountingServicer, settings: Settings, health: Health, key: str) -> MeshServer:
    keyring = Keyring([record_of_key(key, CALLER, SCOPES)])

    @asynccontextmanager
    async def unused(_runtime: object) -> AsyncIterator[object]:
        yield servicer

    service = Service("echo", ECHO_SERVICE, add_EchoServiceServicer_to_server, unused, Path())
    outbox = OutboxServiceServicer()  # type: ignore[abstract]  # without a database, its methods are UNIMPLEMENTED
    return MeshServer(
        service, servicer, outbox, health, server_interceptors(settings, lambda: keyring), settings.engine
    )


if __name__ == "__main__":
    with service_loop() as runner:
        runner.run(serve(Path(sys.argv[1])))
