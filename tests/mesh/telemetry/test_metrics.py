from __future__ import annotations

import asyncio
import socket
import time
import urllib.request
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry, Counter

from local.supervised_settings import (
    METRICS_PORT_DISTANCE,
    environment_of_service,
    metrics_address_of,
    reject_settings_of_one_process,
)
from mesh.config import Settings, SettingsError
from mesh.serving.process import serving
from mesh.telemetry.metrics import LAG_PERIOD_S, serve_metrics
from services.gym.app import SERVICE as GYM
from solo60.gym.v1.gym_pb2 import ListGymsRequest
from solo60.gym.v1.gym_pb2_grpc import GymServiceStub
from tests.support.eventually import TIMEOUT_S
from tests.support.ports import free_ports

if TYPE_CHECKING:
    from tests.support.serving import Serve

OPENMETRICS = "application/openmetrics-text"


async def scrape(address: str, accept: str = "text/plain") -> str:
    """Fetch the metrics as Prometheus does."""
    request = urllib.request.Request(f"http://{address}/metrics", headers={"Accept": accept})

    def read() -> str:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - ours
            text: str = answer.read().decode()
            return text

    return await asyncio.to_thread(read)


def free_address() -> str:
    """Return an address without a listener."""
    return f"127.0.0.1:{free_ports(1)[0]}"


@pytest.mark.requirement("S5")
async def test_metrics_are_served_only_during_the_context() -> None:
    """Metrics, with exemplars in OpenMetrics, are served only during the context. Its port is free afterwards."""
    address, registry = free_address(), CollectorRegistry()
    Counter("bookings", "Bookings.", registry=registry).inc(exemplar={"trace_id": "abc"})

    for _ in range(2):
        async with serve_metrics(address, registry):
            assert "bookings_total 1.0" in await scrape(address)
            assert '# {trace_id="abc"}' in await scrape(address, OPENMETRICS)

    with pytest.raises(OSError, match="refused"):
        await scrape(address)


@pytest.mark.requirement("S5")
async def test_a_service_exposes_its_calls_and_its_process(serve: Serve) -> None:
    """A service exposes its calls by caller and outcome, its memory, and the lag of its event loop."""
    address = free_address()
    mesh = await serve(GYM, metrics_address=address)
    await mesh.stub(GymServiceStub).ListGyms(ListGymsRequest(page_size=1))

    shown = await scrape(address)

    labels = 'caller="operator",grpc_code="OK",grpc_method="ListGyms",grpc_service="solo60.gym.v1.GymService"'
    assert f"grpc_server_handled_total{{{labels}" in shown
    assert "process_resident_memory_bytes" in shown
    assert "solo60_event_loop_lag_seconds" in shown


@pytest.mark.requirement("S5")
async def test_a_stalled_event_loop_is_measured() -> None:
    """The lag gauge shows a stall of the event loop."""
    registry = CollectorRegistry()
    async with serve_metrics(free_address(), registry), asyncio.timeout(TIMEOUT_S):
        lag_s = 0.0
        # A busy machine can cause a small lag before the stall.
        while lag_s <= LAG_PERIOD_S / 10:
            await asyncio.sleep(LAG_PERIOD_S / 2)
            time.sleep(LAG_PERIOD_S)  # noqa: ASYNC251 - the stall
            await asyncio.sleep(0)
            lag_s = registry.get_sample_value("solo60_event_loop_lag_seconds") or 0.0


async def test_the_event_loop_is_measured_for_an_export() -> None:
    """Without an address, the event loop is measured only if the metrics are exported."""
    registry = CollectorRegistry()
    async with serve_metrics(None, registry):
        assert list(registry.collect()) == []
    async with serve_metrics(None, registry, is_exported=True):
        assert [family.name for family in registry.collect()] == ["solo60_event_loop_lag_seconds"]


@pytest.mark.parametrize("address", ["192.0.2.1:9000", "dns:///127.0.0.1:9000"])
async def test_an_address_that_cannot_be_listened_at_stops_the_start(address: str) -> None:
    """An address that cannot be listened at stops the start with an error that names METRICS_ADDRESS."""
    with pytest.raises(SettingsError, match=r"^METRICS_ADDRESS: .* is in use or is not an address of this machine\.$"):
        async with serve_metrics(address, CollectorRegistry()):
            pass


async def test_an_address_in_use_stops_the_start() -> None:
    """A METRICS_ADDRESS that is in use stops the start of a service."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        settings = Settings(_env_file=None, metrics_address=address)  # type: ignore[call-arg]  # pydantic-settings' own argument
        with pytest.raises(SettingsError, match=r"^METRICS_ADDRESS: "):
            async with serving(GYM, settings, "127.0.0.1:0"):
                pass


def test_each_service_of_a_local_mesh_has_its_own_metrics_address() -> None:
    """Each service of a local mesh serves metrics at its port plus 500.

    If that port is in use, belongs to another service or is out of range, the service runs without metrics.
    """
    [free] = free_ports(1)
    auth_url = f"127.0.0.1:{free - METRICS_PORT_DISTANCE}"
    settings = Settings(_env_file=None, auth_service_url=auth_url)  # type: ignore[call-arg]  # pydantic-settings' own argument

    assert metrics_address_of(settings, "auth") == f"127.0.0.1:{free}"
    with closing(socket.create_server(("127.0.0.1", free))):
        assert metrics_address_of(settings, "auth") is None
    taken = settings.model_copy(update={"user_service_url": f"127.0.0.1:{free}"})
    assert metrics_address_of(taken, "auth") is None
    assert metrics_address_of(settings.model_copy(update={"gym_service_url": "127.0.0.1:65300"}), "gym") is None
    assert environment_of_service(settings, "auth")["METRICS_ADDRESS"] == f"127.0.0.1:{free}"


def test_a_shared_metrics_address_is_rejected() -> None:
    """METRICS_ADDRESS is rejected for a local mesh, because the services cannot share one address."""
    settings = Settings(_env_file=None, metrics_address="127.0.0.1:9000")  # type: ignore[call-arg]  # pydantic-settings' own argument
    with pytest.raises(SettingsError, match=r"^METRICS_ADDRESS: unset it"):
        reject_settings_of_one_process(settings)
