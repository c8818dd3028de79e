from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from mesh.sampling import RatioSampler

RATIOS = (0.0, 0.1, 0.5, 1.0)


def under(parent: tuple[int, int, int] | None) -> Context:
    """Make a context with a remote parent: its trace, its span and its flags."""
    if parent is None:
        return Context()
    trace_id, span_id, flags = parent
    span = NonRecordingSpan(SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags)))
    return set_span_in_context(span, Context())


parents = st.none() | st.tuples(st.integers(0, 2**128 - 1), st.integers(0, 2**64 - 1), st.sampled_from([0, 1]))


@given(st.sampled_from(RATIOS), st.integers(1, 2**128 - 1), parents)
def test_it_decides_as_opentelemetrys_own_does(
    ratio: float, trace_id: int, parent: tuple[int, int, int] | None
) -> None:
    """S5: a caller's choice is kept; a new trace is recorded by its id."""
    theirs = ParentBased(TraceIdRatioBased(ratio)).should_sample(under(parent), trace_id, "name")

    assert RatioSampler(ratio).should_sample(under(parent), trace_id, "name").decision is theirs.decision
