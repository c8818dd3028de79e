from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider, _TracerConfig
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import INVALID_SPAN_CONTEXT, NoOpTracerProvider, SpanKind, StatusCode

from contracts.errors import Internal, SlotTaken, Unauthenticated
from interceptors.tracing.late_recorder import LateRecorder
from interceptors.tracing.lean_tracer import lean_tracer
from solo60.example.v1 import echo_pb2
from tests.support.call_shapes import raising

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from structlog.typing import EventDict

    from tests.support.echo_server import EchoServer, ServeEcho

HI = echo_pb2.EchoRequest(text="hi")
# So few traces are sampled that no test sees one.
RARE = 1e-12
SLOW_S = 0.02
NS_PER_S = 1_000_000_000


async def spans_after_stop(echo: EchoServer) -> dict[SpanKind, ReadableSpan]:
    """Stop the server, so that no call is in flight, and return the spans by kind."""
    await echo.stop()
    spans = echo.spans()
    found = {span.kind: span for span in spans}
    assert len(found) == len(spans)
    return found


async def wait_slowly() -> None:
    """Take longer than SLOW_S."""
    await asyncio.sleep(2 * SLOW_S)


@pytest.mark.requirement("S5")
async def test_both_sides_of_a_failed_call_are_recorded(serve_echo: ServeEcho, logs: list[EventDict]) -> None:
    """A call that fails by the server's fault is recorded on both sides, although its trace is not sampled.

    The ids are those that the call has carried, so both spans belong together. The log line has them too.
    """
    echo = await serve_echo(trace_sample_ratio=RARE)

    with pytest.raises(Internal):
        await raising(echo, ValueError("broken")).Echo(HI)
    spans = await spans_after_stop(echo)

    client, server = spans[SpanKind.CLIENT], spans[SpanKind.SERVER]
    assert server.parent is not None
    assert client.context is not None
    assert server.context is not None
    assert (server.parent.span_id, server.context.trace_id) == (client.context.span_id, client.context.trace_id)
    assert client.parent is None
    assert (client.status.status_code, server.status.status_code) == (StatusCode.ERROR, StatusCode.ERROR)
    assert (server.attributes or {})["solo60.caller"] == "tester"
    [line] = [line for line in logs if line["event"] == "call"]
    assert line["trace_id"] == trace.format_trace_id(server.context.trace_id)
    assert line["span_id"] == trace.format_span_id(server.context.span_id)


@pytest.mark.requirement("S5")
async def test_a_slow_call_is_recorded_with_its_whole_duration(serve_echo: ServeEcho) -> None:
    """A call that takes longer than `slow_s` is recorded on both sides, from its beginning."""
    echo = await serve_echo(trace_sample_ratio=RARE, trace_slow_s=SLOW_S)
    echo.servicer.hook = wait_slowly

    await echo.stub().Echo(HI)
    spans = await spans_after_stop(echo)

    assert spans.keys() == {SpanKind.CLIENT, SpanKind.SERVER}
    for span in spans.values():
        assert (span.end_time or 0) - (span.start_time or 0) >= 2 * SLOW_S * NS_PER_S


@pytest.mark.requirement("S5")
async def test_usual_calls_of_a_skipped_trace_are_not_recorded(serve_echo: ServeEcho) -> None:
    """Neither a quick success, nor a rejection that the contract declares, nor a call without a key is recorded."""
    echo = await serve_echo(trace_sample_ratio=RARE, trace_slow_s=60)

    await echo.stub().Echo(HI)
    with pytest.raises(SlotTaken):
        await raising(echo, SlotTaken("taken")).Echo(HI)
    with pytest.raises(Unauthenticated):
        await echo.stub("none").Echo(HI)

    assert await spans_after_stop(echo) == {}


@pytest.mark.requirement("S5")
async def test_a_long_stream_is_not_slow(serve_echo: ServeEcho) -> None:
    """A long stream is not recorded as a slow call."""
    echo = await serve_echo(trace_sample_ratio=RARE, trace_slow_s=SLOW_S)
    echo.servicer.hook = wait_slowly

    answers = echo.stub().EchoMany(echo_pb2.EchoManyRequest(text="hi", repeat=1))
    assert [answer.text async for answer in answers] == ["hi"]

    assert await spans_after_stop(echo) == {}


@pytest.mark.requirement("S5")
async def test_nothing_is_recorded_late_if_traces_are_off(serve_echo: ServeEcho) -> None:
    """A ratio of 0 turns traces off, also those of failed calls."""
    echo = await serve_echo(trace_sample_ratio=0)

    with pytest.raises(Internal):
        await raising(echo, ValueError("broken")).Echo(HI)

    assert await spans_after_stop(echo) == {}


def test_tracers_without_the_sdk_record_nothing_late() -> None:
    """A tracer that is not the SDK's cannot record late, and no tracer does without `slow_s`."""
    foreign = NoOpTracerProvider().get_tracer("test")
    assert LateRecorder.of(foreign, 1.0) is None


def test_a_disabled_tracer_records_nothing_late() -> None:
    """A tracer that its provider has disabled records no failed or slow call either."""
    provider = TracerProvider(_tracer_configurator=lambda _scope: _TracerConfig(is_enabled=False))
    memory = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    tracer = lean_tracer(provider.get_tracer("test"))
    late = LateRecorder.of(tracer, 1.0)
    assert late is not None

    skipped, parent = tracer.start_span("call"), INVALID_SPAN_CONTEXT
    late.tracer.record_late(skipped, "call", parent, SpanKind.SERVER, {}, None, time.monotonic()).end()

    assert memory.get_finished_spans() == ()
