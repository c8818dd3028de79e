"""Telemetry of several services in one process: each has its own log, spans and metrics, on both engines."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
import structlog
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry, generate_latest

from mesh.serving.process import serving
from mesh.telemetry.current import ProcessLog, ServiceTelemetry, current_telemetry, telemetry_of_service
from mesh.telemetry.export_state import ExportState
from mesh.telemetry.setup import log_of_service, telemetry_troubles
from tests.mesh.serving.served_echo import connected, echo_hi, echo_service
from tests.support.echo import EchoServicer
from tests.support.eventually import eventually
from tests.support.ports import free_ports
from tests.support.prometheus_samples import scraped_samples

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    import grpc.aio
    from structlog.typing import EventDict

    from mesh.config import Settings
    from mesh.serving.server import MeshServer
    from solo60.example.v1 import echo_pb2

LOGGER = "tests.handler"
NAMES = ("first", "second")


class LoggingServicer(EchoServicer):
    """Servicer that logs a line for each call."""

    async def Echo(
        self, request: echo_pb2.EchoRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> echo_pb2.EchoResponse:
        logging.getLogger(LOGGER).warning("handled")
        return await super().Echo(request, context)


class ServiceInTest:
    """One service, with its telemetry and the received lines, spans and metrics."""

    def __init__(self, name: str) -> None:
        self.log, self.spans, tracers = io.BytesIO(), InMemorySpanExporter(), TracerProvider()
        tracers.add_span_processor(SimpleSpanProcessor(self.spans))
        self.telemetry = ServiceTelemetry(log_of_service(self.log, name), tracers, CollectorRegistry())

    def records(self) -> list[dict[str, Any]]:
        """Return the records of the log."""
        return [json.loads(line) for line in self.log.getvalue().splitlines()]

    def events(self) -> list[str]:
        """Return the texts of the log."""
        return [record["event"] for record in self.records()]

    def calls(self) -> float:
        """Return the number of calls of Echo in the metrics."""
        samples = scraped_samples(generate_latest(self.telemetry.registry).decode())
        return sum(
            value
            for (name, labels), value in samples.items()
            if name == "grpc_server_handled_total" and ("grpc_method", "Echo") in labels
        )


@pytest.fixture
def process_log(caplog: pytest.LogCaptureFixture) -> Iterator[io.BytesIO]:
    """Give all loggers a process log, and return its stream."""
    stream = io.BytesIO()
    caplog.set_level(logging.INFO)
    handler = ProcessLog(stream, "process")
    logging.getLogger().addHandler(handler)
    yield stream
    logging.getLogger().removeHandler(handler)


@asynccontextmanager
async def served(service: ServiceInTest, settings: Settings) -> AsyncIterator[MeshServer]:
    """Serve Echo with the telemetry of `service`, in this task."""
    (port,) = free_ports(1)
    with telemetry_of_service(service.telemetry):
        async with serving(echo_service(LoggingServicer()), settings, f"127.0.0.1:{port}") as server:
            yield server


@pytest.mark.parametrize("engine", ["grpcio", "native"])
async def test_each_service_has_its_own_telemetry(settings: Settings, process_log: io.BytesIO, engine: str) -> None:
    """Lines of handlers and of the access log, spans and metrics belong to the service that was called."""
    services = {name: ServiceInTest(name) for name in NAMES}
    started: asyncio.Queue[tuple[str, MeshServer]]
    stopping, started = asyncio.Event(), asyncio.Queue()

    async def serve(name: str) -> None:
        async with served(services[name], settings.model_copy(update={"engine": engine})) as server:
            await started.put((name, server))
            await stopping.wait()

    async with asyncio.TaskGroup() as group:
        for name in NAMES:
            group.create_task(serve(name))
        servers = dict([await started.get() for _ in NAMES])
        async with connected(servers["second"]) as channel:
            await echo_hi(channel)
        await eventually(lambda: "call" in services["second"].events())
        stopping.set()

    first, second = services.values()
    of_calls = [record for record in second.records() if record["event"] in {"handled", "call"}]
    assert {record["logger"] for record in of_calls} == {LOGGER, "solo60.access"}
    assert {record["service"] for record in second.records()} == {"second"}
    assert first.records() == []
    assert [span.name for span in second.spans.get_finished_spans()] == ["solo60.example.v1.EchoService/Echo"]
    assert not first.spans.get_finished_spans()
    assert (first.calls(), second.calls()) == (0, 1)
    assert process_log.getvalue() == b""


def test_a_line_outside_of_all_services_belongs_to_the_process(process_log: io.BytesIO) -> None:
    """A line that no service's task logs is a line of the process."""
    service = ServiceInTest("first")
    with telemetry_of_service(service.telemetry):
        logging.getLogger(LOGGER).warning("of the service")
    logging.getLogger(LOGGER).warning("of the process")

    assert [record["event"] for record in service.records()] == ["of the service"]
    assert process_log.getvalue() == b"of the process\n"


def test_a_line_about_an_export_belongs_to_its_service() -> None:
    """A thread that exports the spans of a service reports a failure in the log of that service."""
    service, logged_by = ServiceInTest("first"), list[object]()

    def note(_logger: object, _name: str, _event: EventDict) -> NoReturn:
        logged_by.append(current_telemetry())
        raise structlog.DropEvent

    structlog.configure(processors=[note])
    try:
        with telemetry_of_service(service.telemetry):
            state = ExportState("spans", "traces do not reach the collector")
        with ThreadPoolExecutor() as threads:
            threads.submit(state.attempt, lambda: False, 1).result()
            threads.submit(state.attempt, lambda: True, 1).result()
    finally:
        structlog.reset_defaults()

    assert logged_by == [service.telemetry, service.telemetry]


def test_the_troubles_of_a_service_are_its_own() -> None:
    """A service reports that its log cannot be written, and another service of the process does not."""
    broken, sound = ServiceInTest("broken"), ServiceInTest("sound")
    broken.log.close()
    with telemetry_of_service(broken.telemetry):
        broken.telemetry.lines.flush()
        assert [trouble.partition(":")[0] for trouble in telemetry_troubles()] == ["its log cannot be written"]
    with telemetry_of_service(sound.telemetry):
        assert telemetry_troubles() == []
