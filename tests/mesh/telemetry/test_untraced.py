from __future__ import annotations

from opentelemetry import trace
from opentelemetry.propagate import inject

from mesh.telemetry.sampling import SamplingProvider
from mesh.telemetry.untraced import untraced
from operations.snapshot import Snapshot

TRACER = SamplingProvider(1.0, shutdown_on_exit=False).get_tracer("test")


def is_recorded() -> bool:
    """Return whether a span that begins now is recorded."""
    return TRACER.start_span("any").is_recording()


def test_untraced_work_is_not_recorded_here_or_by_its_callees() -> None:
    """No span in the block is recorded, and calls tell their callees not to record theirs, until the block ends."""
    headers: dict[str, str] = {}
    with untraced():
        inside = is_recorded()
        inject(headers)

    assert not inside
    assert headers["traceparent"].endswith("-00")
    assert is_recorded()
    assert not trace.get_current_span().get_span_context().is_valid


async def test_the_reads_of_a_snapshot_are_not_traced() -> None:
    """Polling does not fill the list of traces."""

    async def read() -> bool:
        return is_recorded()

    assert not await Snapshot(read, 1.0).get()
