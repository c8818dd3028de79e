"""Counter of unfinished spans."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.sdk.trace import SpanProcessor

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan, Span


class SpanCount(SpanProcessor):
    """Counter of started and ended spans, for `TracerProvider.add_span_processor`."""

    def __init__(self) -> None:
        self.begun = 0
        self.ended = 0

    @property
    def unfinished(self) -> int:
        """Number of spans that have not ended."""
        return self.begun - self.ended

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        self.begun += 1

    def on_end(self, span: ReadableSpan) -> None:
        self.ended += 1
