from __future__ import annotations

import threading
import time
from itertools import chain
from typing import TYPE_CHECKING

from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.resources import Resource
from structlog.testing import capture_logs

from mesh.telemetry.export_state import ExportState
from mesh.telemetry.log_lines import json_line
from mesh.telemetry.otlp.log_export import MAX_BATCH_BYTES, MAX_BATCH_LINES, MAX_WAITING_BYTES, LogExport
from tests.support.eventually import TIMEOUT_S, eventually

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk._logs import ReadableLogRecord

RESOURCE = Resource({})
TEXT_BYTES = 10_000


class Gate(LogRecordExporter):
    """Exporter that waits until the test opens it, like one whose collector does not answer. Its end ends the wait."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.is_entered, self.is_open = threading.Event(), threading.Event()

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        self.is_entered.set()
        assert self.is_open.wait(TIMEOUT_S)
        self.batches.append([str(each.log_record.body) for each in batch])
        return LogRecordExportResult.SUCCESS

    def shutdown(self) -> None:
        self.is_open.set()

    def force_flush(self, timeout_millis: int = 0) -> bool:
        return True


def state() -> ExportState:
    """Return the state of a new export."""
    return ExportState("log lines", "they do not arrive")


def lines_of(numbers: range, text: str = "") -> bytes:
    """Return a line for each number."""
    return b"".join(json_line({"event": str(number), "text": text}) for number in numbers)


async def test_lines_arrive_in_order_and_soon() -> None:
    """Lines arrive in order and soon, without the end of the export."""
    exporter = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]  # the SDK has no types here
    export = LogExport(exporter, RESOURCE, state())
    export.add(lines_of(range(3)))
    export.add(lines_of(range(3, 4)))

    await eventually(lambda: len(exporter.get_finished_logs()) == 4)
    export.stop(TIMEOUT_S)

    assert [each.log_record.body for each in exporter.get_finished_logs()] == ["0", "1", "2", "3"]


async def test_batches_fit_into_the_request_of_a_collector() -> None:
    """A batch has a limited number of lines and bytes, except that one line is never divided."""
    exporter = Gate()
    exporter.is_open.set()
    export = LogExport(exporter, RESOURCE, state())
    many, large = MAX_BATCH_LINES * 2 + 1, MAX_BATCH_BYTES // TEXT_BYTES + 1
    export.add(lines_of(range(many)))
    export.add(lines_of(range(many, many + large), "x" * TEXT_BYTES))
    export.add(lines_of(range(1), "x" * MAX_BATCH_BYTES * 2))
    export.stop(TIMEOUT_S)

    assert [*chain(*exporter.batches)] == [*map(str, range(many + large)), "0"]
    sizes = [len(batch) for batch in exporter.batches]
    assert max(sizes) == MAX_BATCH_LINES
    assert len(exporter.batches[-1]) == 1
    assert sum(size * TEXT_BYTES <= MAX_BATCH_BYTES for size in sizes[2:]) >= 2


async def test_a_full_queue_rejects_lines_and_never_waits() -> None:
    """While the collector does not answer, the queue takes a limited number of bytes, and the rest counts as lost."""
    exporter = Gate()
    export = LogExport(exporter, RESOURCE, state())
    export.add(lines_of(range(1)))
    export.wake()
    await eventually(exporter.is_entered.is_set)
    chunk, count = lines_of(range(100), "x" * TEXT_BYTES), MAX_WAITING_BYTES // (100 * TEXT_BYTES) + 5

    for _ in range(count):
        export.add(chunk)
    admitted = MAX_WAITING_BYTES // len(chunk)
    with capture_logs() as logged:
        exporter.is_open.set()
        await eventually(lambda: sum(map(len, exporter.batches)) == 1 + admitted * 100)
        export.add(lines_of(range(1)))
        export.stop(TIMEOUT_S)

    assert sum(map(len, exporter.batches)) == 2 + admitted * 100
    assert [line["lost"] for line in logged] == [(count - admitted) * 100]


async def test_the_end_does_not_wait_for_a_silent_collector() -> None:
    """The end of an export cancels an unfinished request after its time limit."""
    exporter = Gate()
    export = LogExport(exporter, RESOURCE, state())
    export.add(lines_of(range(1)))
    export.wake()
    await eventually(exporter.is_entered.is_set)

    began = time.monotonic()
    export.stop(0.1)

    assert time.monotonic() - began < 0.1 + TIMEOUT_S / 2
    assert exporter.is_open.is_set()
