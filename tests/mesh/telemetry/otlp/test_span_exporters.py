"""Exporters of spans at real collectors, over gRPC and over HTTP."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans as encode_by_package
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from mesh.config import GRPC, HTTP, Settings
from mesh.telemetry.otlp.exports import span_exporter
from mesh.telemetry.sampling import SamplingProvider
from tests.support.collector import HOST, collecting
from tests.support.eventually import TIMEOUT_S
from tests.support.http_collector import collecting_by_http

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter

    from tests.support.collector import Collector

TEXT = 500 * "x"
FAILURE, SUCCESS = SpanExportResult.FAILURE, SpanExportResult.SUCCESS


@pytest.fixture(params=[GRPC, HTTP])
def protocol(request: pytest.FixtureRequest) -> str:
    """Return each protocol."""
    value: str = request.param
    return value


@pytest.fixture
def collector(protocol: str) -> Iterator[Collector]:
    """Run a collector for the protocol."""
    with collecting() if protocol == GRPC else collecting_by_http() as running:
        yield running


def exporter(endpoint: str, protocol: str, **settings: Any) -> SpanExporter:
    """Return the exporter that a process with this collector has."""
    chosen = Settings(
        _env_file=None,  # type: ignore[call-arg]  # pydantic-settings' own argument
        otel_exporter_otlp_endpoint=endpoint,
        otel_exporter_otlp_protocol=protocol,
        **settings,
    )
    return span_exporter(chosen, str(chosen.collector_of("traces")))


def spans(count: int = 3) -> Sequence[ReadableSpan]:
    """Return spans, the last one with an event."""
    memory = InMemorySpanExporter()
    provider = SamplingProvider(1.0, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    tracer = provider.get_tracer("tests")
    for number in range(count):
        with tracer.start_as_current_span(f"span {number}", attributes={"number": number, "text": TEXT}) as span:
            if number == count - 1:
                span.add_event("event")
    return memory.get_finished_spans()


@pytest.mark.requirement("S5")
def test_spans_arrive_as_the_exporter_package_sends_them(collector: Collector, protocol: str) -> None:
    """Spans arrive complete, with the headers of the settings; those with events are encoded by the package."""
    found = spans()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=solo60")
        exporting = exporter(collector.endpoint, protocol)

    assert exporting.export(found) is SUCCESS
    exporting.shutdown()

    [group] = encode_by_package(found).resource_spans
    expected = {each.span_id: each for each in group.scope_spans[0].spans}
    assert {each.item.span_id: each.item for each in collector.spans} == expected
    assert {each.scope for each in collector.spans} == {"tests"}
    assert [each["x-tenant"] for each in collector.metadata] == ["solo60"]
    assert collector.requests == ["traces"]


def test_a_request_is_repeated_while_the_collector_is_busy(collector: Collector, protocol: str) -> None:
    """A request that a busy collector rejects with UNAVAILABLE or 503 is repeated after the requested time."""
    collector.busy = 2
    exporting = exporter(collector.endpoint, protocol)

    assert exporting.export(spans()) is SUCCESS
    exporting.shutdown()

    assert len(collector.requests) == 3
    assert len(collector.spans) == 3


def test_rejected_spans_are_a_failure(collector: Collector, protocol: str) -> None:
    """A rejected request is not repeated, and the export fails; so does an export after the shutdown."""
    collector.rejects = grpc.StatusCode.INVALID_ARGUMENT
    exporting = exporter(collector.endpoint, protocol)

    assert exporting.export(spans()) is FAILURE
    collector.rejects = None
    exporting.shutdown()
    assert exporting.export(spans()) is FAILURE

    assert collector.requests == ["traces"]
    assert collector.spans == []


@pytest.mark.parametrize("name", ["OTEL_EXPORTER_OTLP_COMPRESSION", "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION"])
def test_requests_are_compressed(
    collector: Collector, protocol: str, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """With the compression gzip, requests take a fraction of their bytes."""
    found = spans(200)
    sizes = []
    for compression in ("none", "gzip") if protocol == HTTP else ("", "gzip"):
        if compression:
            monkeypatch.setenv(name, compression)
        with relaying(collector.port) as (port, sent):
            exporting = exporter(f"http://{HOST}:{port}", protocol)
            assert exporting.export(found) is SUCCESS
            exporting.shutdown()
        sizes.append(len(sent))

    assert len(collector.spans) == 400
    assert sizes[1] < sizes[0] / 2


def test_an_unreachable_collector_is_a_failure(protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The timeout of the settings limits all attempts together."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.1")
    with socket.create_server((HOST, 0)) as silent:
        exporting = exporter(f"http://{HOST}:{silent.getsockname()[1]}", protocol)

        assert exporting.export(spans()) is FAILURE
        exporting.shutdown()


def test_the_base_url_of_a_collector_may_have_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over HTTP, the path of the base URL precedes the paths of OTLP; the proxy of the environment is not used."""
    monkeypatch.setenv("http_proxy", f"http://{HOST}:1")
    with collecting_by_http("/otlp") as collector:
        exporting = exporter(f"{collector.endpoint}/otlp/", HTTP)
        assert exporting.export(spans()) is SUCCESS
        exporting.shutdown()
        assert len(collector.spans) == 3

        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.1")
        through_proxy = exporter(f"{collector.endpoint}/otlp/", HTTP, calls_through_proxy=True)
        assert through_proxy.export(spans()) is FAILURE
        through_proxy.shutdown()


@contextmanager
def relaying(port: int) -> Iterator[tuple[int, bytearray]]:
    """Relay one connection to a port of this machine; yield the relay's port and the bytes of the caller."""
    sent = bytearray()

    def forward(source: socket.socket, target: socket.socket, copy: bytearray) -> None:
        with suppress(OSError):  # one end has closed its connection
            while chunk := source.recv(65_536):
                copy += chunk
                target.sendall(chunk)
            target.shutdown(socket.SHUT_WR)

    def relay() -> None:
        caller, _ = listener.accept()
        with caller, socket.create_connection((HOST, port)) as callee:
            back = threading.Thread(target=forward, args=(callee, caller, bytearray()))
            back.start()
            forward(caller, callee, sent)
            back.join(TIMEOUT_S)

    with socket.create_server((HOST, 0)) as listener:
        thread = threading.Thread(target=relay)
        thread.start()
        yield listener.getsockname()[1], sent
        thread.join(TIMEOUT_S)
