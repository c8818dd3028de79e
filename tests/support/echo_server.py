"""Echo servers for one test, on real sockets, with all interceptors of server and client.

    async def test_it_echoes(echo: EchoServer) -> None:
        answer = await echo.stub().Echo(EchoRequest(text="hi"))

Everything is closed after the test.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

import grpc.aio
import pytest
from grpc_health.v1.health import aio as health
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server
from opentelemetry.instrumentation.grpc import filters
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

from contracts.errors import DeadlineExceeded
from interceptors.chain.channel import ChainedChannel
from interceptors.deadline.interceptor import remaining_s
from interceptors.keys.keyring import Keyring, mint_key, record_of_key
from interceptors.tracing.interceptor import ClientTracing, ServerTracing
from mesh.config import Settings
from mesh.serving.channel import client_interceptors
from mesh.serving.engine import new_server
from mesh.serving.reflection import add_reflection_to_server
from mesh.serving.server import HEALTH_SERVICE, IS_GRPC_SERVICE, server_interceptors
from mesh.telemetry.sampling import SamplingProvider
from solo60.example.v1.echo_pb2_grpc import EchoServiceStub, add_EchoServiceServicer_to_server
from tests.support.echo import SCOPES, EchoServicer
from tests.support.serving import DEADLINE_FACTOR, NO_SHEDDING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from grpc_interceptor.server import AsyncServerInterceptor
    from opentelemetry.sdk.trace import ReadableSpan

    from interceptors.chain.client import ClientInterceptor
    from interceptors.chain.server import ServerInterceptor
    from solo60.example.v1.echo_pb2_grpc import EchoServiceAsyncStub

CALLER = "tester"
# A caller's deadline ends a little before the server's, because gRPC's core adds up to 1 % to the server's.
OUT_OF_TIME_S = 0.004


class Endless:
    """Hook that waits until its call is cancelled or `is_open` is set."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.is_out_of_time = False
        self.is_open = asyncio.Event()

    async def __call__(self) -> None:
        self.entered.set()
        try:
            await self.is_open.wait()
        except asyncio.CancelledError:
            self.is_out_of_time = (remaining_s() or 0.0) <= OUT_OF_TIME_S
            self.cancelled.set()
            raise

    async def until_out_of_time(self, call: Callable[[], Awaitable[object]]) -> None:
        """Repeat a call until its deadline expires in this hook on the server's clock too.

        On a busy machine a deadline may expire before the hook runs. If a call arrives late, its caller's deadline may
        expire first, and the server sees a cancelled call.
        """
        while not self.is_out_of_time:
            self.cancelled.clear()
            self.entered.clear()
            with pytest.raises(DeadlineExceeded):
                await call()
            if self.entered.is_set():
                await self.cancelled.wait()


class EchoServer:
    """Echo server. Replace `keyring` to change the accepted keys. `spans` and `registry` cover server and client."""

    def __init__(
        self, servicer: EchoServicer, application: Sequence[AsyncServerInterceptor], settings: Settings
    ) -> None:
        self.servicer = servicer
        self._settings = settings
        self.key = mint_key("test")
        self.keyring = Keyring([record_of_key(self.key, CALLER, SCOPES)])
        self.address = ""
        self._exporter = InMemorySpanExporter()
        self.registry = CollectorRegistry()
        self.tracers = SamplingProvider(settings.trace_sample_ratio, shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self._exporter))
        self._server = new_server(settings.engine, self._server_interceptors(), application)
        self._channels: list[grpc.aio.Channel] = []

    async def start(self) -> None:
        """Listen on a free port."""
        add_EchoServiceServicer_to_server(self.servicer, self._server)
        add_HealthServicer_to_server(health.HealthServicer(), self._server)
        add_reflection_to_server([HEALTH_SERVICE], self._server)
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        await self._server.start()

    async def stop(self) -> None:
        """Close every channel and the server."""
        for channel in self._channels:
            await channel.close()
        await self.shut_down()

    async def shut_down(self) -> None:
        """Stop the server but leave the channels open."""
        await self._server.stop(0)

    def channel(self, key: str | None = None) -> grpc.aio.Channel:
        """Open a channel with all client interceptors and `key`, by default this server's valid key."""
        return self._open(self._client_interceptors(self.key if key is None else key))

    def bare_channel(self) -> grpc.aio.Channel:
        """Open a channel without interceptors."""
        return self._open()

    def stub(self, key: str | None = None) -> EchoServiceAsyncStub:
        """Return a stub on a channel with all client interceptors."""
        return EchoServiceStub(self.channel(key))

    def _open(self, interceptors: Sequence[ClientInterceptor] | None = None) -> grpc.aio.Channel:
        channel = grpc.aio.insecure_channel(self.address)
        self._channels.append(channel if interceptors is None else ChainedChannel(channel, interceptors))
        return self._channels[-1]

    def spans(self) -> list[ReadableSpan]:
        """Return the finished spans of server and client, sorted by start time."""
        return sorted(self._exporter.get_finished_spans(), key=lambda span: span.start_time or 0)

    def _server_interceptors(self) -> list[ServerInterceptor]:
        tracing = ServerTracing(
            self.tracers,
            filters.negate(IS_GRPC_SERVICE),
            old_names_too=self._settings.emits_old_rpc_names,
            slow_s=self._settings.late_recording_s,
        )
        return [
            tracing if isinstance(each, ServerTracing) else each
            for each in server_interceptors(self._settings, lambda: self.keyring, self.registry)
        ]

    def _client_interceptors(self, key: str) -> list[ClientInterceptor]:
        tracing = ClientTracing(
            self.tracers,
            old_names_too=self._settings.emits_old_rpc_names,
            slow_s=self._settings.late_recording_s,
        )
        return [
            tracing if isinstance(each, ClientTracing) else each
            for each in client_interceptors(self._settings, lambda: key, self.registry)
        ]


class ServeEcho(Protocol):
    """Starter of echo servers. Settings by field name override the defaults."""

    async def __call__(
        self,
        servicer: EchoServicer | None = None,
        *,
        application: Sequence[AsyncServerInterceptor] = (),
        **settings: object,
    ) -> EchoServer:
        """Start a server for `servicer` and return it."""


@pytest.fixture
async def serve_echo() -> AsyncIterator[ServeEcho]:
    """Start echo servers for one test."""
    servers: list[EchoServer] = []

    async def start(
        servicer: EchoServicer | None = None,
        *,
        application: Sequence[AsyncServerInterceptor] = (),
        **settings: object,
    ) -> EchoServer:
        settings = {"deadline_factor": DEADLINE_FACTOR, **NO_SHEDDING, **settings}
        server = EchoServer(servicer or EchoServicer(), application, Settings(_env_file=None, **settings))  # type: ignore[arg-type, call-arg]  # any setting; pydantic-settings' own argument
        servers.append(server)
        await server.start()
        return server

    yield start
    for server in servers:
        await server.stop()


@pytest.fixture
async def echo(serve_echo: ServeEcho) -> EchoServer:
    """Start an echo server with default settings."""
    return await serve_echo()
