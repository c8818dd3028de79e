"""Late recording: spans of failed and slow calls in traces that are not sampled.

A sampler decides at the start of a trace. So with 1 % of all traces recorded, 99 % of all failures would be missing.
Each hop of a failed or slow call records its own span at its end, with the ids that the hop has already sent on.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from interceptors.tracing.lean_tracer import LeanTracer

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

    from contracts.method import Method


class LateRecorder(NamedTuple):
    """Tracer for failed calls, and for unary calls that took more than `slow_s` seconds."""

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
