"""Ids of spans and traces that are the same in every run."""

from __future__ import annotations

from opentelemetry.sdk.trace.id_generator import IdGenerator


class CountedIds(IdGenerator):
    """Generator of the ids 1, 2, 3."""

    def __init__(self) -> None:
        self._last = 0

    def generate_span_id(self) -> int:
        self._last += 1
        return self._last

    generate_trace_id = generate_span_id
