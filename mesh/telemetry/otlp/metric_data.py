"""Conversion of Prometheus metrics into OpenTelemetry's, by the rules of its Prometheus compatibility specification.

OpenTelemetry has a bridge in this direction for Go, but none for Python.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from opentelemetry.sdk.metrics import Exemplar
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    Sum,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Exemplar as PrometheusExemplar
    from prometheus_client.core import Metric as Family
    from prometheus_client.core import Sample

NANOSECONDS = 1_000_000_000
# OpenTelemetry's units of the names that Prometheus prescribes.
UNITS = {"seconds": "s", "bytes": "By", "ratio": "1"}
_CUMULATIVE = AggregationTemporality.CUMULATIVE
# The suffix of the sample that holds the value, by the type of the family.
_VALUES = {"counter": "_total", "info": "_info", "gauge": "", "unknown": "", "stateset": ""}


def metrics_in(registry: CollectorRegistry, now_ns: int, process_start_ns: int) -> Iterator[Metric]:
    """Yield the metrics of `registry` with their current values and the names of their samples at /metrics.

    A counter or histogram without a time of creation starts with the process. Summaries and gauge histograms are
    omitted: OpenTelemetry's SDK has no type for the former, and its specification drops the latter.
    """
    for family in registry.collect():
        data: Sum | Gauge | Histogram | None = None
        name = family.name + _VALUES.get(family.type, "")
        if family.type == "histogram":
            data = Histogram(_histogram_points(family, now_ns, process_start_ns), _CUMULATIVE)
        elif family.type in ("gauge", "unknown"):
            data = Gauge(_points(family, name, now_ns))
        elif family.type in _VALUES:
            data = Sum(
                _points(family, name, now_ns, process_start_ns), _CUMULATIVE, is_monotonic=family.type == "counter"
            )
        if data is not None and data.data_points:
            yield Metric(name, family.documentation, _unit(family), data)


def _unit(family: Family) -> str:
    """Return the unit that the family declares or that ends its name."""
    return UNITS.get(family.unit or family.name.rpartition("_")[2], family.unit)


def _points(family: Family, name: str, now_ns: int, start_ns: int = 0) -> list[NumberDataPoint]:
    """Return the values of the samples called `name`; `start_ns` is the start of a series without a creation time."""
    created = {_key(each): each.value for each in family.samples if each.name == f"{family.name}_created"}
    return [
        NumberDataPoint(
            attributes=each.labels,
            start_time_unix_nano=_start_ns(created.get(_key(each)), start_ns, now_ns),
            time_unix_nano=now_ns,
            value=float(each.value),
            exemplars=_exemplars([each]),
        )
        for each in family.samples
        if each.name == name
    ]


@dataclass(slots=True)
class _Series:
    """Samples of a histogram with the same labels."""

    labels: Mapping[str, str]
    buckets: list[Sample] = field(default_factory=list)
    total: float | None = None
    created: float | None = None


def _histogram_points(family: Family, now_ns: int, start_ns: int) -> list[HistogramDataPoint]:
    return [
        _histogram_point(series, now_ns, _start_ns(series.created, start_ns, now_ns))
        for series in _series_of(family)
        if series.buckets
    ]


def _series_of(family: Family) -> Iterator[_Series]:
    """Yield the series of a histogram."""
    found: dict[tuple[tuple[str, str], ...], _Series] = {}
    for sample in family.samples:
        labels = {name: value for name, value in sample.labels.items() if name != "le"}
        series = found.setdefault(tuple(labels.items()), _Series(labels))
        match sample.name.removeprefix(family.name):
            case "_bucket":
                series.buckets.append(sample)
            case "_sum":
                series.total = sample.value
            case "_created":
                series.created = sample.value
    yield from found.values()


def _histogram_point(series: _Series, now_ns: int, start_ns: int) -> HistogramDataPoint:
    buckets = sorted(series.buckets, key=lambda each: float(each.labels["le"]))
    # Prometheus counts the observations up to each bound, and OpenTelemetry those between two bounds.
    totals = [int(each.value) for each in buckets]
    return HistogramDataPoint(
        attributes=series.labels,
        start_time_unix_nano=start_ns,
        time_unix_nano=now_ns,
        count=totals[-1],
        sum=series.total,  # type: ignore[arg-type]  # optional in OTLP, like the two below
        bucket_counts=[total - before for before, total in zip([0, *totals], totals, strict=False)],
        explicit_bounds=[bound for each in buckets if (bound := float(each.labels["le"])) != math.inf],
        min=None,  # type: ignore[arg-type]
        max=None,  # type: ignore[arg-type]
        exemplars=_exemplars(buckets),
    )


def _exemplars(samples: Sequence[Sample]) -> list[Exemplar]:
    return [_exemplar(each.exemplar) for each in samples if each.exemplar]


def _exemplar(exemplar: PrometheusExemplar) -> Exemplar:
    others = {name: value for name, value in exemplar.labels.items() if name not in ("trace_id", "span_id")}
    return Exemplar(
        others,
        float(exemplar.value),
        _nanoseconds(float(exemplar.timestamp or 0)),
        span_id=_id(exemplar.labels.get("span_id", ""), 16),
        trace_id=_id(exemplar.labels.get("trace_id", ""), 32),
    )


def _id(text: str, digits: int) -> int | None:
    """Return the number of a trace or span id, or None if it is malformed."""
    return int(text, 16) if re.fullmatch(rf"[0-9a-f]{{{digits}}}", text) else None


def _key(sample: Sample) -> tuple[tuple[str, str], ...]:
    return tuple(sample.labels.items())


def _start_ns(created: float | None, otherwise_ns: int, now_ns: int) -> int:
    # The clock may have been set back since.
    return min(now_ns, otherwise_ns if created is None else _nanoseconds(created))


def _nanoseconds(seconds: float) -> int:
    # A float holds the time of today in microseconds, and no more precisely.
    return int(seconds * 1_000_000) * 1_000
