"""Late recording: spans of failed and slow calls in traces that are not sampled.

A sampler decides at the start of a trace. So with 1 % of all traces recorded, 99 % of all failures would be missing.
Each hop of a failed or slow call records its own span at its end, with the ids that the hop has already sent on.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from interceptors.tracing.lean_tracer import LeanTracer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.context import Context
    from opentelemetry.trace import Span, SpanKind, Tracer

    from contracts.method import Method

SECOND_NS = 1_000_000_000


class LateRecorder(NamedTuple):
    """Recorder of failed calls, and of unary calls that took more than `slow_s` seconds."""

    tracer: LeanTracer
    slow_s: float

    @classmethod
    def of(cls, tracer: Tracer, slow_s: float | None) -> LateRecorder | None:
        """Return a recorder, or None if `slow_s` is None or the tracer is not that of OpenTelemetry's SDK."""
        return cls(tracer, slow_s) if slow_s is not None and isinstance(tracer, LeanTracer) else None

    def is_slow(self, method: Method, began_s: float) -> bool:
        """Return whether a call that ends now is slow; `began_s` is on the clock of `time.monotonic`."""
        if method.request_streaming or method.response_streaming:  # the caller decides how long a stream lasts
            return False
        return time.monotonic() - began_s > self.slow_s

    def start(
        self,
        skipped: Span,
        name: str,
        context: Context | None,
        kind: SpanKind,
        attributes: Mapping[str, Any],
        began_s: float,
    ) -> Span:
        """Start a recorded span in place of `skipped`, for a call that began at `began_s`."""
        start_time_ns = time.time_ns() - int((time.monotonic() - began_s) * SECOND_NS)
        return self.tracer.record_late(skipped, name, context, kind, attributes, start_time_ns)
