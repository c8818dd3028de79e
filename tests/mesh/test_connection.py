from __future__ import annotations

import ast
import asyncio
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc.aio
import pytest

from contracts.errors import Unavailable
from mesh.serving.channel import Channels, connect
from mesh.serving.health_probe import SERVING, UNREACHABLE, Problems, probe_of, problems_of
from mesh.telemetry.setup import set_up_tracing
from solo60.gym.v1.gym_pb2_grpc import GymServiceStub
from tests.mesh.serving.test_channel import GET, GYMS, FailingGymServicer, GymServer, settings_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from opentelemetry.sdk.trace import TracerProvider

    from solo60.gym.v1 import gym_pb2

ROOT = Path(__file__).parents[2]
# Clients without the mesh: two examples, and the kit's client of a fake server, which sets its own options.
FOREIGN = {"contracts/testing/compatibility.py", "examples/call_with_grpcio.py", "examples/acme/shop/client.py"}
PROGRAMS = ("bench", "cli", "contracts", "examples", "interceptors", "local", "mesh", "services")
OPENS = {"insecure_channel", "secure_channel"}
OPTIONS = {"channel_options", "connection_options"}
TIMEOUT_S = 30.0
# Environment variables that gRPC's core reads to find a proxy.
PROXIES = ("grpc_proxy", "https_proxy", "http_proxy")


class RecordingGymServicer(FailingGymServicer):
    """Gym service that records the address of each caller."""

    def __init__(self) -> None:
        super().__init__()
        self.peers: list[str] = []

    async def GetGym(self, request: Any, context: Any) -> gym_pb2.GetGymResponse:
        """Record the caller's address, then answer as FailingGymServicer does."""
        self.peers.append(context.peer())
        return await super().GetGym(request, context)


@pytest.fixture
def gyms() -> RecordingGymServicer:
    """Make the servicer of the test's server."""
    return RecordingGymServicer()  # type: ignore[abstract]  # two methods are enough


@pytest.fixture
async def port(gyms: RecordingGymServicer) -> AsyncIterator[int]:
    """Start the server; yield its port."""
    server = GymServer(gyms)
    yield await server.start()
    await server.stop()


async def test_two_channels_of_a_process_share_no_connection(gyms: RecordingGymServicer, port: int) -> None:
    """Two Channels objects share no connection, because gRPC's core crashes if both watch the health of one."""
    one, other = (Channels(settings_for(port), lambda: "sk_of_this_test") for _ in range(2))

    await one.stub(GymServiceStub).GetGym(GET)
    await other.stub(GymServiceStub).GetGym(GET)

    assert len(set(gyms.peers)) == 2
    await one.close()
    await other.close()


@asynccontextmanager
async def proxy_in_environment(name: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[asyncio.Queue[bytes]]:
    """Listen as a proxy that rejects all requests, set `name` to its address, and yield the received request lines."""
    asked: asyncio.Queue[bytes] = asyncio.Queue()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.put_nowait(await reader.readline())
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    for each in ("no_grpc_proxy", "no_proxy", *PROXIES):
        monkeypatch.delenv(each, raising=False)
    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as listening:
        monkeypatch.setenv(name, f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}")
        yield asked


@pytest.mark.parametrize("name", PROXIES)
async def test_a_proxy_in_the_environment_gets_no_call(port: int, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Calls and health checks ignore a proxy in the environment and go to the configured address."""
    address = f"127.0.0.1:{port}"
    async with proxy_in_environment(name, monkeypatch) as asked:
        async with connect(GymServiceStub, settings_for(port)) as stub:
            await stub.GetGym(GET)
        async with probe_of(address, GYMS) as probe:
            assert await probe() == SERVING

        assert asked.empty()


async def test_a_setting_sends_calls_through_the_proxy(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """CALLS_THROUGH_PROXY sends calls, health checks and queries for troubles through the proxy."""
    settings = settings_for(port).model_copy(update={"calls_through_proxy": True})
    address = f"127.0.0.1:{port}"
    async with proxy_in_environment("http_proxy", monkeypatch) as asked:
        async with connect(GymServiceStub, settings) as stub:
            with pytest.raises(Unavailable):
                await stub.GetGym(GET)
        async with probe_of(address, GYMS, through_proxy=True) as probe:
            assert await probe() == UNREACHABLE
        assert await problems_of(address, through_proxy=True) == Problems()

        async with asyncio.timeout(TIMEOUT_S):
            assert {await asked.get() for _ in range(3)} == {f"CONNECT {address} HTTP/1.1\r\n".encode()}


@pytest.mark.parametrize("through_proxy", [False, True])
async def test_spans_use_the_proxy_like_calls(monkeypatch: pytest.MonkeyPatch, *, through_proxy: bool) -> None:
    """Spans reach the collector through the proxy if CALLS_THROUGH_PROXY is set, and directly otherwise."""
    collector: asyncio.Queue[str] = asyncio.Queue()

    class Collector(grpc.GenericRpcHandler):
        def service(self, details: grpc.HandlerCallDetails) -> None:
            collector.put_nowait(str(details.method))

    server = grpc.aio.server(handlers=[Collector()])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with proxy_in_environment("http_proxy", monkeypatch) as proxy:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")  # seconds; limits the retries of a rejected export
        settings = settings_for(1).model_copy(
            update={"otel_exporter_otlp_endpoint": f"http://127.0.0.1:{port}", "calls_through_proxy": through_proxy}
        )
        tracers: TracerProvider = set_up_tracing(settings, "tests")
        tracers.get_tracer("tests").start_span("one").end()
        flushed = asyncio.create_task(asyncio.to_thread(tracers.shutdown))

        async with asyncio.timeout(TIMEOUT_S):
            if through_proxy:
                assert (await proxy.get()).startswith(b"CONNECT ")
            else:
                assert (await collector.get()).endswith("TraceService/Export")
                assert proxy.empty()
    await flushed
    await server.stop(0)


def openings(source: str) -> list[bool]:
    """Return for each channel that a program opens whether it uses the mesh's options."""
    tree = ast.parse(source)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    ours = any(_name_of(call) in OPTIONS for call in calls)
    return [ours and len(call.args) + len(call.keywords) > 1 for call in calls if _name_of(call) in OPENS]


def _name_of(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def test_every_channel_gets_its_options_from_one_place() -> None:
    """No program opens a channel with gRPC's default options."""
    found = {
        str(path.relative_to(ROOT)): openings(path.read_text())
        for folder in PROGRAMS
        for path in (ROOT / folder).rglob("*.py")
        if str(path.relative_to(ROOT)) not in FOREIGN
    }

    assert [path for path, opened in found.items() if not all(opened)] == []
    assert sum(map(len, found.values())) >= 6
    assert openings("grpc.aio.insecure_channel('127.0.0.1:1')") == [False]
