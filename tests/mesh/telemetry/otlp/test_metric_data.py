from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality
from opentelemetry.sdk.metrics.export import MetricsData, ResourceMetrics, ScopeMetrics
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client import CollectorRegistry, Counter, Enum, Gauge, Histogram, Info, Summary, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeHistogramMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from mesh.telemetry.otlp.metric_data import NANOSECONDS, metrics_in
from tests.support.collector import values_of
from tests.support.prometheus_samples import samples_of, scraped_samples

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

NOW_NS = 1_700_000_100 * NANOSECONDS
PROCESS_START_NS = 1_700_000_000 * NANOSECONDS
TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class WithoutTimes(Collector):
    """Collector whose counter and histogram have no time of creation, like those of calls."""

    def collect(self) -> Iterator[Any]:
        yield CounterMetricFamily("calls", "Calls.", value=7)
        yield HistogramMetricFamily("size_bytes", "Size.", buckets=[("1.0", 2), ("+Inf", 3)], sum_value=9.5)
        yield GaugeHistogramMetricFamily("queue", "Queue.", buckets=[("+Inf", 3)], gsum_value=9.5)


def exported(registry: CollectorRegistry, now_ns: int = NOW_NS) -> dict[str, Metric]:
    """Return the metrics of a registry as a collector gets them, by name."""
    metrics = list(metrics_in(registry, now_ns, PROCESS_START_NS))
    scoped = ScopeMetrics(InstrumentationScope("test"), metrics, "")
    request = encode_metrics(MetricsData([ResourceMetrics(Resource({}), [scoped], "")]))
    return {metric.name: metric for metric in request.resource_metrics[0].scope_metrics[0].metrics}


def test_each_sample_of_prometheus_is_exported() -> None:
    """OTLP has the samples of /metrics, whatever their types and labels."""
    rng, registry = random.Random(60), CollectorRegistry()  # noqa: S311 - no secret
    counter = Counter("bookings", "Bookings.", ("gym", "reason"), registry=registry)
    gauge = Gauge("temperature_celsius", "Temperature.", ("gym",), registry=registry)
    duration = Histogram("duration_seconds", "Duration.", ("gym",), registry=registry, buckets=(0.1, 0.5, 1, 5))
    Info("build", "Build.", registry=registry).info({"version": "1"})
    Enum("state", "State.", states=["open", "closed"], registry=registry).state("closed")
    Gauge("unset", "A family with labels and without samples.", ("gym",), registry=registry)
    for _ in range(500):
        gym = rng.choice(["Field Street", 'a "b"\\n', ""])
        counter.labels(gym, rng.choice(["", "SLOT_TAKEN"])).inc(rng.random())
        gauge.labels(gym).set(rng.uniform(-10, 10))
        duration.labels(gym).observe(rng.expovariate(1))

    assert samples_of(exported(registry).values()) == scraped_samples(generate_latest(registry).decode())


def test_types_help_and_units_are_exported() -> None:
    """Counters are monotonic cumulative sums and histograms are cumulative; names end with units."""
    registry = CollectorRegistry()
    Counter("sent_bytes", "Bytes sent.", registry=registry).inc(3)
    Gauge("oldest_seconds", "Age of the oldest.", registry=registry).set(4)
    Gauge("depth", "Depth.", registry=registry, unit="messages").set(5)
    Histogram("duration_seconds", "Duration.", registry=registry, buckets=(0.1, 1)).observe(0.5)
    Enum("state", "State.", states=["open"], registry=registry)

    found = exported(registry)

    described = {name: (metric.description, metric.unit) for name, metric in found.items()}
    assert described == {
        "sent_bytes_total": ("Bytes sent.", "By"),
        "oldest_seconds": ("Age of the oldest.", "s"),
        "depth_messages": ("Depth.", "messages"),
        "duration_seconds": ("Duration.", "s"),
        "state": ("State.", ""),
    }
    cumulative = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
    sums = {name: found[name].sum for name in ("sent_bytes_total", "state")}
    assert [(each.aggregation_temporality, each.is_monotonic) for each in sums.values()] == [
        (cumulative, True),
        (cumulative, False),
    ]
    assert found["duration_seconds"].histogram.aggregation_temporality == cumulative
    [point] = found["duration_seconds"].histogram.data_points
    assert (list(point.explicit_bounds), list(point.bucket_counts), point.count) == ([0.1, 1], [0, 1, 0], 1)
    assert not point.HasField("min")
    assert found["oldest_seconds"].WhichOneof("data") == "gauge"


def test_a_series_starts_when_it_was_created() -> None:
    """The start of a series is its time of creation. A series without one starts with the process."""
    registry = CollectorRegistry()
    before_ns = time.time_ns() // 1_000 * 1_000
    bookings = Counter("bookings", "Bookings.", ("gym",), registry=registry)
    duration = Histogram("duration_seconds", "Duration.", registry=registry)
    bookings.labels("Field Street").inc()
    registry.register(WithoutTimes())

    now_ns = time.time_ns()
    found = exported(registry, now_ns)

    [booked], [lasted] = found["bookings_total"].sum.data_points, found["duration_seconds"].histogram.data_points
    assert before_ns <= booked.start_time_unix_nano <= now_ns
    assert before_ns <= lasted.start_time_unix_nano <= now_ns
    [calls], [size] = found["calls_total"].sum.data_points, found["size_bytes"].histogram.data_points
    assert {calls.start_time_unix_nano, size.start_time_unix_nano} == {PROCESS_START_NS}
    assert {each.time_unix_nano for each in (booked, lasted, calls, size)} == {now_ns}
    assert (list(size.bucket_counts), size.sum) == ([2, 1], 9.5)
    # A start after the end would be invalid, and a clock can be set back.
    [early] = exported(registry, before_ns - NANOSECONDS)["bookings_total"].sum.data_points
    assert early.start_time_unix_nano == before_ns - NANOSECONDS
    assert duration is not None


def test_exemplars_are_exported() -> None:
    """An exemplar keeps its value, time, trace and span; its other labels become attributes."""
    registry = CollectorRegistry()
    duration = Histogram("duration_seconds", "Duration.", registry=registry, buckets=(0.1, 1))
    duration.observe(0.5, {"trace_id": TRACE_ID, "span_id": SPAN_ID, "gym": "7"})
    Counter("bookings", "Bookings.", registry=registry).inc(2, {"order": "8"})

    found = exported(registry)

    [point] = found["duration_seconds"].histogram.data_points
    [exemplar] = point.exemplars
    assert (exemplar.as_double, exemplar.trace_id.hex(), exemplar.span_id.hex()) == (0.5, TRACE_ID, SPAN_ID)
    assert abs(exemplar.time_unix_nano - time.time_ns()) < 60 * NANOSECONDS
    assert values_of(exemplar.filtered_attributes) == {"gym": "7"}
    [counted] = found["bookings_total"].sum.data_points[0].exemplars
    assert (counted.as_double, counted.trace_id, values_of(counted.filtered_attributes)) == (2, b"", {"order": "8"})


def test_types_that_otlp_or_its_sdk_lacks_are_omitted() -> None:
    """Summaries and gauge histograms are omitted."""
    registry = CollectorRegistry()
    Summary("latency", "Latency.", registry=registry).observe(1)
    registry.register(WithoutTimes())

    assert exported(registry).keys() == {"calls_total", "size_bytes"}


@pytest.mark.parametrize("trace_id", ["", "no hexadecimal number", "f" * 40])
def test_an_exemplar_with_a_malformed_trace_is_exported_without_it(trace_id: str) -> None:
    """A malformed trace id of an exemplar does not stop the export."""
    registry = CollectorRegistry()
    Counter("bookings", "Bookings.", registry=registry).inc(2, {"trace_id": trace_id})

    [point] = exported(registry)["bookings_total"].sum.data_points

    assert [each.trace_id for each in point.exemplars] == [b""]
