"""Summary of a trace for lists of traces, in about 400 bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mesh.telemetry.spans import SERVER, time_of_ns

if TYPE_CHECKING:
    from datetime import datetime

    from mesh.telemetry.spans import StoredSpan
    from operations.traces.name_pool import NamePool

TRACE_ID_LENGTH = 32
# `interceptors.context` accepts no longer ones.
MAX_CORRELATION_ID_LENGTH = 64
# At most: the object, its numbers, its correlation id, and its entry in the dictionary of a `TraceIndex`.
FIXED_BYTES = 600


class TraceSummary:
    """Summary of the spans of one trace that were added so far.

    - `start_ns`, `service`: start and service of the first span. The first span is the one without a parent, or the
      earliest one if every span has a parent. Times are in nanoseconds since the epoch.
    - `calls`: number of served calls. `errors`: number of spans with an error; a failed call has up to two of them.
    - `caller`, `method`: those of the earliest served call.
    - `methods`, `services`: of all spans, also of calls that no service answered, in alphabetical order.
    - `pooled_bytes`: size of the names that this trace was the first one to have, set by the index.
    """

    __slots__ = (
        "_correlation",
        "_end_ns",
        "_first_call_ns",
        "_has_root",
        "_id",
        "_name",
        "caller",
        "calls",
        "errors",
        "method",
        "methods",
        "pooled_bytes",
        "service",
        "services",
        "start_ns",
    )

    def __init__(self, trace_id: int) -> None:
        self._id = trace_id
        self.start_ns = self._end_ns = self._first_call_ns = 0
        self._has_root = False
        self._name = self.service = self.caller = self.method = ""
        self._correlation: str | int = ""
        self.calls = self.errors = self.pooled_bytes = 0
        self.methods: tuple[str, ...] = ()
        self.services: tuple[str, ...] = ()

    @property
    def trace_id(self) -> str:
        """The trace id: 32 hexadecimal digits."""
        return f"{self._id:032x}"

    @property
    def correlation_id(self) -> str:
        """Correlation id of the earliest served call, or ""."""
        return self._correlation if isinstance(self._correlation, str) else f"{self._correlation:032x}"

    @property
    def start(self) -> datetime:
        """Start of the first span, in UTC."""
        return time_of_ns(self.start_ns)

    @property
    def duration_ms(self) -> float:
        """Time from the start of the first span to the end of the last one, in milliseconds."""
        return (self._end_ns - self.start_ns) / 1e6

    @property
    def name(self) -> str:
        """Name of the first span, with the first method if the span has another name: "call: GymService/GetGym"."""
        label = name_label(self._name)
        return label if "/" in self._name or not self.method else f"{label}: {name_label(self.method)}"

    @property
    def size_bytes(self) -> int:
        """Estimated memory of this object with its numbers and its share of the names."""
        return FIXED_BYTES + self.pooled_bytes

    def add(self, span: StoredSpan, pool: NamePool) -> None:
        """Add a span of this trace."""
        is_root = span.parent_id is None
        is_earlier = not self.services or span.start_ns < self.start_ns
        if (is_root and not self._has_root) or (is_root == self._has_root and is_earlier):
            self.start_ns, self._has_root = span.start_ns, is_root
            self.service, self._name = pool.name(span.service), pool.name(span.name)
        self._end_ns = max(self._end_ns, span.end_ns)
        self.errors += span.error is not None
        self.services = pool.with_name(self.services, span.service)
        if "/" in span.name:
            self.methods = pool.with_name(self.methods, span.name.lstrip("/"))
        if span.kind == SERVER:
            self._add_call(span, pool)

    def _add_call(self, span: StoredSpan, pool: NamePool) -> None:
        if not self.calls or span.start_ns < self._first_call_ns:
            self._first_call_ns = span.start_ns
            self.method, self.caller = pool.name(span.name.lstrip("/")), pool.name(span.caller)
            self._correlation = _compact(span.correlation_id[:MAX_CORRELATION_ID_LENGTH])
        self.calls += 1


def _compact(correlation_id: str) -> str | int:
    """Return a correlation id of 32 hexadecimal digits, the usual one, as a number, which takes half of the memory."""
    try:
        number = int(correlation_id, 16)
    except ValueError:
        return correlation_id
    return number if f"{number:032x}" == correlation_id else correlation_id


def number_of_trace(trace_id: str) -> int:
    """Return the number of a trace id, or 0, which is never one (W3C Trace Context), if the id is invalid."""
    try:
        return int(trace_id, 16) if len(trace_id) == TRACE_ID_LENGTH else 0
    except ValueError:
        return 0


def name_label(name: str) -> str:
    """Return the name of a span without its package: "GymService/GetGym"."""
    service, slash, method = name.lstrip("/").rpartition("/")
    return f"{service.rpartition('.')[2]}/{method}" if slash else name
