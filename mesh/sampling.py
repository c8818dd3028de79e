"""Sampling: which traces are recorded; most of them are not, so to say no is made cheap."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, Sampler, SamplingResult, TraceIdRatioBased

if TYPE_CHECKING:
    from opentelemetry.context import Context

_DROP = SamplingResult(Decision.DROP)


class RatioSampler(Sampler):
    """Decides as `ParentBased(TraceIdRatioBased(ratio))` does, and makes nothing for a new trace that is left out."""

    def __init__(self, ratio: float) -> None:
        by_id = TraceIdRatioBased(ratio)
        self._ratio = ratio
        self._bound = by_id.bound
        self._sampler = ParentBased(by_id)

    def should_sample(self, parent_context: Context | None, trace_id: int, *rest: Any, **named: Any) -> SamplingResult:  # noqa: ANN401 - handed on as they are
        is_out = trace_id & TraceIdRatioBased.TRACE_ID_LIMIT >= self._bound
        if is_out and not trace.get_current_span(parent_context).get_span_context().is_valid:
            return _DROP
        return self._sampler.should_sample(parent_context, trace_id, *rest, **named)

    def get_description(self) -> str:
        return f"RatioSampler{{{self._ratio}}}"
