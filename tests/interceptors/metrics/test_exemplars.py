from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from contracts.errors import Internal
from interceptors.metrics.interceptor import ClientMetrics
from interceptors.tracing.interceptor import ClientTracing
from solo60.example.v1.echo_pb2_grpc import EchoServiceStub
from tests.interceptors.metrics.samples import total
from tests.support.call_shapes import HI, raising

if TYPE_CHECKING:
    from tests.support.echo_server import EchoServer, ServeEcho


def exemplars(registry: CollectorRegistry, name: str) -> list[dict[str, str]]:
    """Return the exemplars of a metric in a scrape."""
    text = generate_latest(registry).decode()  # type: ignore[no-untyped-call]  # prometheus-client has no types here
    families = text_string_to_metric_families(text)  # type: ignore[no-untyped-call]  # as above
    return [
        sample.exemplar.labels
        for family in families
        for sample in family.samples
        if sample.exemplar and family.name == name
    ]


@pytest.mark.requirement("S5")
async def test_a_duration_has_an_exemplar(echo: EchoServer) -> None:
    """The durations of both sides have the ids of the call's trace and span as exemplar."""
    await echo.stub().Echo(HI)
    await echo.stop()

    spans = {span.kind: span.context for span in echo.spans() if span.context}
    for side, kind in (("server", SpanKind.SERVER), ("client", SpanKind.CLIENT)):
        ids = {"trace_id": f"{spans[kind].trace_id:032x}", "span_id": f"{spans[kind].span_id:016x}"}
        assert exemplars(echo.registry, f"grpc_{side}_handling_seconds") == [ids]


@pytest.mark.requirement("S5")
async def test_a_call_that_is_recorded_late_is_an_exemplar(serve_echo: ServeEcho) -> None:
    """A failed call of a trace that is not sampled is the exemplar of its duration on both sides."""
    echo = await serve_echo(trace_sample_ratio=1e-12)
    with pytest.raises(Internal):
        await raising(echo, ValueError("broken")).Echo(HI)
    await echo.stop()

    spans = {span.kind: span.context for span in echo.spans() if span.context}
    for side, kind in (("server", SpanKind.SERVER), ("client", SpanKind.CLIENT)):
        ids = {"trace_id": f"{spans[kind].trace_id:032x}", "span_id": f"{spans[kind].span_id:016x}"}
        assert exemplars(echo.registry, f"grpc_{side}_handling_seconds") == [ids]


@pytest.mark.requirement("S5")
async def test_an_unrecorded_trace_is_no_exemplar(echo: EchoServer) -> None:
    """A call without a recorded trace has no exemplar, because the id would lead nowhere."""
    registry, off = CollectorRegistry(), TracerProvider(ALWAYS_OFF, shutdown_on_exit=False)
    clients = [ClientTracing(off), ClientMetrics(registry), *echo._client_interceptors(echo.key)[2:]]
    await EchoServiceStub(echo._open(clients)).Echo(HI)
    await echo.stop()

    assert total(echo.registry, "grpc_server_started_total") == 1
    assert exemplars(echo.registry, "grpc_server_handling_seconds") == []
    assert exemplars(registry, "grpc_client_handling_seconds") == []
