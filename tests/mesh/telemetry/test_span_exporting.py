from __future__ import annotations

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Decision, StaticSampler

from interceptors.tracing.lean_tracer import lean_tracer
from mesh.telemetry.span_exporting import BoundedShutdownProcessor
from tests.support.eventually import TIMEOUT_S


@pytest.mark.parametrize("is_lean", [False, True])
@pytest.mark.parametrize(("decision", "count"), [(Decision.RECORD_ONLY, 0), (Decision.RECORD_AND_SAMPLE, 1)])
def test_only_sampled_spans_are_exported(decision: Decision, count: int, *, is_lean: bool) -> None:
    """A span that is recorded for processors only is not exported, whether the SDK or the mesh has started it."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=StaticSampler(decision), shutdown_on_exit=False)
    provider.add_span_processor(BoundedShutdownProcessor(exporter, TIMEOUT_S))
    tracer = provider.get_tracer("tests")

    with (lean_tracer(tracer) if is_lean else tracer).start_as_current_span("one") as span:
        assert span.is_recording()
    provider.shutdown()

    assert len(exporter.get_finished_spans()) == count


def test_all_spans_of_several_batches_are_exported_and_none_after_the_end() -> None:
    """Spans are exported whether they fill a batch or not. A span that ends after the shutdown is not."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BoundedShutdownProcessor(exporter, TIMEOUT_S))
    tracer = lean_tracer(provider.get_tracer("tests"))
    open_at_the_end = tracer.start_span("late")

    for number in range(1_300):  # two and a half batches
        tracer.start_span(str(number)).end()
    provider.shutdown()
    open_at_the_end.end()

    assert [span.name for span in exporter.get_finished_spans()] == [str(number) for number in range(1_300)]
