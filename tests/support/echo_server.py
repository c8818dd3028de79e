"""Echo servers for one test: the whole chain on a real socket, and stubs with the whole client chain.

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
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

from contracts.errors import DeadlineExceeded
from interceptors.chained_channel import ChainedChannel
from interceptors.deadline import remaining_s
from interceptors.keyring import Keyring, mint_key, record_of_key
from interceptors.tracing import ClientTracing, ServerTracing
from mesh.channel import client_interceptors
from mesh.config import Settings
from mesh.engine import new_server
from mesh.reflection import add_reflection_to_server
from mesh.server import HEALTH_SERVICE, OF_GRPC, server_interceptors
from solo60.example.v1.echo_pb2_grpc import EchoServiceStub, add_EchoServiceServicer_to_server
from tests.support.echo import SCOPES, EchoServicer
from tests.support.serving import DEADLINE_FACTOR, NO_SHEDDING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from grpc_interceptor.server import AsyncServerInterceptor
    from opentelemetry.sdk.trace import ReadableSpan

    from interceptors.client import ClientInterceptor
    from interceptors.server import ServerInterceptor
    from solo60.example.v1.echo_pb2_grpc import EchoServiceAsyncStub

CALLER = "tester"
# The caller's clock ends a call a little before the server's, to which gRPC's core adds as much as 1 %.
OUT_OF_TIME_S = 0.004


class Endless:
    """A hook that waits until its call is cancelled, or until `is_open`."""

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
        """Call until a call runs out of time in this hook, by the clock of its server too.

        On a busy machine a call may run out of time before the hook. Or it arrives late, so that its caller gives it up
        before its server does: then the server sees a cancelled call.
        """
        while not self.is_out_of_time:
            self.cancelled.clear()
            self.entered.clear()
            with pytest.raises(DeadlineExceeded):
                await call()
            if self.entered.is_set():
                await self.cancelled.wait()


class EchoServer:
    """A running echo server. Replace `keyring` to change what it accepts; `spans` and `registry` are of both sides."""

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
        self.tracers = TracerProvider(shutdown_on_exit=False)
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
        """Close the server alone."""
        await self._server.stop(0)

    def channel(self, key: str | None = None) -> grpc.aio.Channel:
        """Open a channel with the whole client chain, with this server's good key or another one."""
        return self._open(self._client_interceptors(self.key if key is None else key))

    def bare_channel(self) -> grpc.aio.Channel:
        """Open a channel that adds nothing to a call."""
        return self._open()

    def stub(self, key: str | None = None) -> EchoServiceAsyncStub:
        """Return a stub over a channel with the whole client chain."""
        return EchoServiceStub(self.channel(key))

    def _open(self, interceptors: Sequence[ClientInterceptor] | None = None) -> grpc.aio.Channel:
        channel = grpc.aio.insecure_channel(self.address)
        self._channels.append(channel if interceptors is None else ChainedChannel(channel, interceptors))
        return self._channels[-1]

    def spans(self) -> list[ReadableSpan]:
        """Return the finished spans of both sides, in the order of their start."""
        return sorted(self._exporter.get_finished_spans(), key=lambda span: span.start_time or 0)

    def _server_interceptors(self) -> list[ServerInterceptor]:
        tracing = ServerTracing(self.tracers, filters.negate(OF_GRPC), old_names_too=self._settings.emits_old_rpc_names)
        return [
            tracing if isinstance(each, ServerTracing) else each
            for each in server_interceptors(self._settings, lambda: self.keyring, self.registry)
        ]

    def _client_interceptors(self, key: str) -> list[ClientInterceptor]:
        tracing = ClientTracing(self.tracers, old_names_too=self._settings.emits_old_rpc_names)
        return [
            tracing if isinstance(each, ClientTracing) else each
            for each in client_interceptors(self._settings, lambda: key, self.registry)
        ]


class ServeEcho(Protocol):
    """Starts echo servers; settings by field name override the defaults."""

    async def __call__(
        self,
        servicer: EchoServicer | None = None,
        *,
        application: Sequence[AsyncServerInterceptor] = (),
        **settings: object,
    ) -> EchoServer:
        """Serve `servicer` and return its server."""


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
        server = EchoServer(servicer or EchoServicer(), application, Settings(_env_file=None, **settings))  # type: ignore[abstract, arg-type, call-arg]  # Promise is but promised; any setting; pydantic-settings' own argument
        servers.append(server)
        await server.start()
        return server

    yield start
    for server in servers:
        await server.stop()


@pytest.fixture
async def echo(serve_echo: ServeEcho) -> EchoServer:
    """Start one echo server with the defaults."""
    return await serve_echo()
