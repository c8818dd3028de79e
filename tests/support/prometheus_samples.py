"""Samples of Prometheus as plain values, from the text of /metrics and from OTLP."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.utils import floatToGoString

from tests.support.collector import values_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from opentelemetry.proto.metrics.v1.metrics_pb2 import HistogramDataPoint, Metric

    Key = tuple[str, frozenset[tuple[str, str]]]
    Samples = dict[Key, float]


def scraped_samples(text: str) -> Samples:
    """Return the samples of a page of /metrics, without the times of creation."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def samples_of(metrics: Iterable[Metric]) -> Samples:
    """Return the samples that Prometheus would show for metrics of OTLP; of a repeated one, the last value."""
    return {
        (name, frozenset(labels.items())): value for metric in metrics for name, labels, value in _samples_of(metric)
    }


def _samples_of(metric: Metric) -> Iterator[tuple[str, dict[str, str], float]]:
    for point in (*metric.gauge.data_points, *metric.sum.data_points):
        yield metric.name, values_of(point.attributes), point.as_double
    for each in metric.histogram.data_points:
        yield from _samples_of_histogram(metric.name, each)


def _samples_of_histogram(name: str, point: HistogramDataPoint) -> Iterator[tuple[str, dict[str, str], float]]:
    labels = values_of(point.attributes)
    bounds = [*map(floatToGoString, point.explicit_bounds), "+Inf"]
    for bound, total in zip(bounds, accumulate(point.bucket_counts), strict=True):
        yield f"{name}_bucket", {**labels, "le": bound}, float(total)
    yield f"{name}_count", labels, float(point.count)
    yield f"{name}_sum", labels, point.sum
