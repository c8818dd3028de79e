from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio as health
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import format_span_id, format_trace_id
from prometheus_client import REGISTRY
from pydantic import SecretStr

from contracts.errors import CircuitOpen, Unavailable
from mesh.config import Settings
from mesh.serving.channel import Channels, connect
from solo60.gym.v1 import gym_pb2
from solo60.gym.v1.gym_pb2_grpc import GymServiceServicer, GymServiceStub, add_GymServiceServicer_to_server
from tests.support.ports import free_ports
from tests.support.serving import DEADLINE_FACTOR

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

GET = gym_pb2.GetGymRequest(gym_id="0190a6b0-0000-7000-8000-000000000000")
# CreateGym is retried like GetGym, but never hedged.
CREATE = gym_pb2.CreateGymRequest(name="Field Street Gym")
GYMS = "solo60.gym.v1.GymService"


class FailingGymServicer(GymServiceServicer):
    """Gym service outside the mesh that fails its first `failures` calls."""

    def __init__(self) -> None:
        self.failures = 0
        self.code = grpc.StatusCode.UNAVAILABLE
        self.attempts: list[dict[str, str | bytes]] = []

    async def GetGym(self, request: Any, context: Any) -> gym_pb2.GetGymResponse:
        """Fail the first `failures` calls, then answer."""
        await self._fail_or_not(context)
        return gym_pb2.GetGymResponse(gym=gym_pb2.Gym(gym_id=request.gym_id))

    async def CreateGym(self, request: Any, context: Any) -> gym_pb2.CreateGymResponse:
        """Fail the first `failures` calls, then answer."""
        await self._fail_or_not(context)
        return gym_pb2.CreateGymResponse()

    async def _fail_or_not(self, context: Any) -> None:
        self.attempts.append(dict(context.invocation_metadata()))
        if len(self.attempts) <= self.failures:
            await context.abort(self.code, "Not now.")


class GymServer:
    """Server of a `FailingGymServicer` servicer on its own port, with health."""

    def __init__(self, gyms: FailingGymServicer) -> None:
        self.health = health.HealthServicer()
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        servicer: Any = gyms
        add_GymServiceServicer_to_server(servicer, self._server)
        add_HealthServicer_to_server(self.health, self._server)

    async def start(self, port: int = 0) -> int:
        """Start serving; return the port."""
        await self.health.set(GYMS, health_pb2.HealthCheckResponse.SERVING)
        port = self._server.add_insecure_port(f"127.0.0.1:{port}")
        await self._server.start()
        return port

    async def stop(self) -> None:
        """Stop without a grace period."""
        await self._server.stop(0)


@pytest.fixture
def gyms() -> FailingGymServicer:
    """Make the servicer of the test's server."""
    return FailingGymServicer()  # type: ignore[abstract]  # two methods are enough


@pytest.fixture
async def server(gyms: FailingGymServicer) -> AsyncIterator[GymServer]:
    """Make the test's server without starting it."""
    server = GymServer(gyms)
    yield server
    await server.stop()


def settings_for(port: int) -> Settings:
    """Make settings for a caller that reaches the gym service at `port`."""
    return Settings(
        _env_file=None,  # type: ignore[call-arg]  # pydantic-settings' own argument
        gym_service_url=f"127.0.0.1:{port}",
        service_api_key=SecretStr("sk_of_this_test"),
        deadline_factor=DEADLINE_FACTOR,
    )


@pytest.fixture
async def channels(server: GymServer) -> AsyncIterator[Channels]:
    """Start the test's server and make channels to it."""
    channels = Channels(settings_for(await server.start()), lambda: "sk_of_this_test")
    yield channels
    await channels.close()


@pytest.mark.requirement("L1")
async def test_a_stub_calls_the_service_at_its_address(channels: Channels, gyms: FailingGymServicer) -> None:
    """A stub calls the service at <NAME>_SERVICE_URL and sends the API key and a correlation id."""
    answer = await channels.stub(GymServiceStub).GetGym(GET)

    assert answer.gym.gym_id == GET.gym_id
    assert gyms.attempts[0]["x-api-key"] == "sk_of_this_test"
    assert len(gyms.attempts[0]["x-correlation-id"]) == 32


async def test_a_stub_sends_the_current_trace(
    server: GymServer, gyms: FailingGymServicer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stub sends the trace of the current span, so that the service's span continues that trace."""
    tracers = TracerProvider(shutdown_on_exit=False)
    monkeypatch.setattr("mesh.telemetry.current.trace.get_tracer_provider", lambda: tracers)
    async with connect(GymServiceStub, settings_for(await server.start())) as stub:
        with tracers.get_tracer("test").start_as_current_span("caller") as span:
            await stub.GetGym(GET)

    version, trace_id, span_id, _flags = str(gyms.attempts[0]["traceparent"]).split("-")
    assert (version, trace_id) == ("00", format_trace_id(span.get_span_context().trace_id))
    # The client has a span of its own, which is the parent of the service's span.
    assert span_id != format_span_id(span.get_span_context().span_id)


@pytest.mark.requirement("L1")
async def test_the_retries_of_the_contract_are_made(channels: Channels, gyms: FailingGymServicer) -> None:
    """A failed call is retried as its contract says and carries its attempt number. The caller sees no error."""
    gyms.failures = 2

    await channels.stub(GymServiceStub).CreateGym(CREATE)

    assert [each.get("grpc-previous-rpc-attempts") for each in gyms.attempts] == [None, "1", "2"]
    assert len({each["x-correlation-id"] for each in gyms.attempts}) == 1


@pytest.mark.requirement("L2")
async def test_the_caller_gets_the_error_of_the_last_attempt(channels: Channels, gyms: FailingGymServicer) -> None:
    """After three failed attempts the caller gets Unavailable."""
    gyms.failures = 100

    with pytest.raises(Unavailable):
        await channels.stub(GymServiceStub).CreateGym(CREATE)

    assert len(gyms.attempts) == 3


@pytest.mark.parametrize("code", [grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DATA_LOSS])
async def test_other_codes_are_not_retried(channels: Channels, gyms: FailingGymServicer, code: grpc.StatusCode) -> None:
    """INTERNAL, UNKNOWN and DATA_LOSS are not retried: a repetition would not help or might act twice (AIP-194)."""
    gyms.failures, gyms.code = 1, code

    with pytest.raises(Exception):  # noqa: B017, PT011 - the exact error is tested elsewhere
        await channels.stub(GymServiceStub).CreateGym(CREATE)

    assert len(gyms.attempts) == 1


@pytest.mark.requirement("S6")
async def test_all_attempts_of_a_call_have_one_idempotency_key(channels: Channels, gyms: FailingGymServicer) -> None:
    """All attempts of a call carry the same idempotency key, so that the service can recognise a repetition."""
    gyms.failures = 1

    await channels.stub(GymServiceStub).CreateGym(CREATE)

    assert len(gyms.attempts) == 2
    assert len({each["idempotency-key"] for each in gyms.attempts}) == 1


@pytest.mark.requirement("L4")
@pytest.mark.requirement("S5")
async def test_an_address_that_is_not_serving_gets_no_calls(
    channels: Channels, gyms: FailingGymServicer, server: GymServer
) -> None:
    """An address that reports NOT_SERVING, such as a draining service, gets no further calls."""
    stub = channels.stub(GymServiceStub)
    await stub.CreateGym(CREATE)

    await server.health.set(GYMS, health_pb2.HealthCheckResponse.NOT_SERVING)
    channel: Any = channels._channels["gym"]
    async with asyncio.timeout(60):
        await channel.wait_for_state_change(grpc.ChannelConnectivity.READY)

    with pytest.raises(Unavailable):
        await stub.CreateGym(CREATE)
    assert len(gyms.attempts) == 1


@pytest.mark.requirement("L4")
@pytest.mark.requirement("L1")
async def test_a_stub_reconnects_to_a_restarted_service(gyms: FailingGymServicer, server: GymServer) -> None:
    """After a service restarts, the same stub reaches it again."""
    port = await server.start()
    async with connect(GymServiceStub, settings_for(port)) as stub:
        await stub.GetGym(GET)
        await server.stop()
        with pytest.raises(Unavailable):
            await stub.GetGym(GET)

        again = GymServer(gyms)
        await again.start(port)

        await stub.GetGym(GET, wait_for_ready=True)
        await again.stop()


@pytest.mark.requirement("L1")
async def test_one_channel_serves_all_stubs_of_a_service(channels: Channels) -> None:
    """All stubs of a service share one channel. Closing the channels closes the shared channel."""
    for _ in range(3):
        await channels.stub(GymServiceStub).GetGym(GET)

    assert list(channels._channels) == ["gym"]
    await channels.close()
    assert channels._channels == {}


async def test_all_channels_of_a_process_share_its_breakers() -> None:
    """All channels of a process share their circuit breakers, and the metrics show the state of a breaker."""
    [port] = free_ports(1)
    first = Channels(settings_for(port), lambda: "sk_of_this_test")
    second = Channels(settings_for(port), lambda: "sk_of_this_test", first.breakers)
    for _ in range(5):
        with pytest.raises(Unavailable):
            await first.stub(GymServiceStub).CreateGym(CREATE)

    with pytest.raises(CircuitOpen):
        await second.stub(GymServiceStub).CreateGym(CREATE)

    assert first.breakers.states() == {f"{GYMS}/CreateGym": "open"}
    labels = {"grpc_service": GYMS, "grpc_method": "CreateGym"}
    assert REGISTRY.get_sample_value("grpc_client_breaker_state", labels) == 2
    await first.close()
    await second.close()
