"""Export of log lines: a bounded queue, and a thread that sends its lines in batches."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

from opentelemetry.sdk._logs.export import LogRecordExportResult

from mesh.telemetry.export_thread import ExportThread
from mesh.telemetry.otlp.log_records import LogRecords

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.sdk._logs.export import LogRecordExporter
    from opentelemetry.sdk.resources import Resource

    from mesh.telemetry.export_state import ExportState

# Short, so that a line can be read soon after it was written.
INTERVAL_S = 1.0
# Lines that wait while the collector is slow or down. Later lines are not exported, and only counted.
MAX_WAITING_BYTES = 8 * 1024 * 1024
# Collectors reject requests above 4 MiB. A record is about as large as its line.
MAX_BATCH_LINES, MAX_BATCH_BYTES = 512, 1024 * 1024


class LogExport:
    """Export of log lines to a collector.

    The lines are parsed and sent on a thread of their own, so `add` costs well under a microsecond and never waits.
    """

    def __init__(self, exporter: LogRecordExporter, resource: Resource, state: ExportState) -> None:
        self._exporter = exporter
        self._records = LogRecords(resource)
        self._state = state
        self._waiting: deque[bytes] = deque()
        # Two counters instead of a lock: `add` changes only the first one, and the thread only the second one. With a
        # lock, a finalizer that logs while the thread holds it could deadlock with the lock of the log.
        self._added_bytes = self._taken_bytes = 0
        self._rejected = self._reported = 0
        self._thread = ExportThread("log export", self._export_waiting, INTERVAL_S)

    def add(self, lines: bytes) -> None:
        """Export whole lines soon, or drop them if too many wait. Only one thread at a time may call this."""
        size = len(lines)
        waiting = self._added_bytes - self._taken_bytes + size
        if waiting > MAX_WAITING_BYTES:
            self._rejected += lines.count(b"\n")
            return
        self._added_bytes += size
        self._waiting.append(lines)
        if waiting > MAX_BATCH_BYTES:
            self._thread.wake()

    def wake(self) -> None:
        """Export the waiting lines now; do not wait for it."""
        self._thread.wake()

    def stop(self, timeout_s: float) -> None:
        """Export the waiting lines for at most `timeout_s`, and drop the rest."""
        self._thread.stop(timeout_s, self._exporter.shutdown)

    def _export_waiting(self) -> None:
        for lines in self._batches():
            now_ns = time.time_ns()
            batch = [self._records.of(line, now_ns) for line in lines]
            self._state.attempt(lambda: self._exporter.export(batch) is LogRecordExportResult.SUCCESS, len(batch))  # noqa: B023 - called before the next batch
        rejected = self._rejected
        self._state.count_lost(rejected - self._reported)
        self._reported = rejected

    def _batches(self) -> Iterator[list[bytes]]:
        """Take all waiting lines, in batches that a collector accepts."""
        batch: list[bytes] = []
        size = 0
        while self._waiting:
            lines = self._waiting.popleft()
            self._taken_bytes += len(lines)
            for line in lines.splitlines():
                if batch and (len(batch) == MAX_BATCH_LINES or size + len(line) > MAX_BATCH_BYTES):
                    yield batch
                    batch, size = [], 0
                batch.append(line)
                size += len(line)
        if batch:
            yield batch
