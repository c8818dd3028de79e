"""Parser of plain text on standard output or standard error into records for the log.

gRPC's core, the interpreter, C libraries and Python warnings write plain text there. A peer without a key can make the
core write a line for each of its calls. So the rate of records is limited for each place in gRPC's code.
"""

from __future__ import annotations

import os
import re
import select
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from interceptors.rate_limit.gcra import Gcra

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Longer records are cut, so that log lines stay within the limits of common tools.
MAX_RECORD_BYTES = 16 * 1024
# Rate and burst of each place in gRPC's core; everything else together counts as one more place.
RECORDS_PER_S = 1.0
RECORDS_BURST = 50
# Rate and burst of all places together: any line may look like a line of gRPC's core.
ALL_RECORDS_PER_S = 20.0
ALL_RECORDS_BURST = 500
# Interval of reports about dropped records while nothing else is written.
REPORT_INTERVAL_S = 10.0
# A record is complete if nothing follows for this long.
QUIET_S = 0.1
_READ_BYTES = 64 * 1024
# Line format of abseil in gRPC's core: "E0000 00:00:1764.123   4711 chttp2_transport.cc:1403] text".
_CORE_LINE = re.compile(rb"([IWEF])\d{4} \S+ +\d+ ([\w./-]{1,80}:\d{1,6})\] ")
_CORE_LEVELS = {b"I": "info", b"W": "warning", b"E": "error", b"F": "critical"}
_TRACEBACK = b"Traceback (most recent call last):"


@dataclass(frozen=True, slots=True)
class ForeignRecord:
    """Record of foreign output: a line with the indented lines after it, or a whole traceback.

    `dropped` is the number of records before this one that the rate limit dropped.
    """

    text: str
    level: str
    dropped: int = 0


class ForeignLineParser:
    """Parser that splits the bytes of a pipe into records, and drops records above the rate limit."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._by_place = Gcra(RECORDS_PER_S, RECORDS_BURST)
        self._all = Gcra(ALL_RECORDS_PER_S, ALL_RECORDS_BURST)
        self._reports = Gcra(1 / REPORT_INTERVAL_S, 1)
        # The current line, and the record of the lines before it, each with the number of bytes cut from it.
        self._line, self._line_cut = bytearray(), 0
        self._record: list[bytes] = []
        self._record_size = self._record_cut = 0
        self._dropped = 0

    @property
    def has_buffered_lines(self) -> bool:
        """Whether `flush` would complete any lines."""
        return bool(self._line or self._record)

    def feed(self, data: bytes) -> Iterator[ForeignRecord]:
        """Yield the records that `data` completes."""
        *ended, begun = data.split(b"\n")
        for part in ended:
            self._extend(part)
            yield from self._end_line()
        self._extend(begun)

    def flush(self) -> Iterator[ForeignRecord]:
        """Yield the lines so far, because no more output follows for now; an unfinished line counts as complete."""
        yield from self._end_line()
        yield from self._end_record()
        if self._dropped and self._reports.admit("", self._now()) == 0:
            yield self._report()

    def close(self) -> Iterator[ForeignRecord]:
        """Yield the remaining lines, because the pipe has ended."""
        yield from self.flush()
        if self._dropped:
            yield self._report()

    def _extend(self, part: bytes) -> None:
        room = MAX_RECORD_BYTES - len(self._line)
        self._line += part[:room]
        self._line_cut += len(part) - min(len(part), room)

    def _end_line(self) -> Iterator[ForeignRecord]:
        line = bytes(self._line).rstrip()
        self._line.clear()
        if not line:
            self._line_cut = 0
            return
        in_traceback = bool(self._record) and self._record[0] == _TRACEBACK
        is_indented = line[:1] in (b" ", b"\t")
        if not in_traceback and not is_indented:
            yield from self._end_record()
        self._add(line)
        if in_traceback and not is_indented:  # the last line of a traceback: the exception
            yield from self._end_record()

    def _add(self, line: bytes) -> None:
        fitting = line[: max(0, MAX_RECORD_BYTES - self._record_size)]
        if fitting:
            self._record.append(fitting)
            self._record_size += len(fitting) + 1
        self._record_cut += len(line) - len(fitting) + self._line_cut
        self._line_cut = 0

    def _end_record(self) -> Iterator[ForeignRecord]:
        lines, self._record = self._record, []
        cut, self._record_cut, self._record_size = self._record_cut, 0, 0
        if not lines:
            return
        core = _CORE_LINE.match(lines[0])
        now_s, place = self._now(), core[2] if core else b""
        if self._by_place.admit(place, now_s) > 0 or self._all.admit("", now_s) > 0:
            self._dropped += 1
            return
        text = b"\n".join(lines).decode(errors="backslashreplace") + (f" [{cut} bytes cut]" if cut else "")
        dropped, self._dropped = self._dropped, 0
        yield ForeignRecord(text, _CORE_LEVELS[core[1]] if core else "warning", dropped)

    def _report(self) -> ForeignRecord:
        dropped, self._dropped = self._dropped, 0
        return ForeignRecord("output was dropped because it exceeded the rate limit", "warning", dropped)


def forward_records(reader: int, write: Callable[[ForeignRecord], None]) -> None:
    """Pass the records from the pipe `reader` to `write` until all writers have closed the pipe; then close `reader`.

    Make the writing end non-blocking, so that a writer loses output instead of waiting for a slow reader.
    """
    lines, poll = ForeignLineParser(), select.poll()
    poll.register(reader, select.POLLIN)
    with os.fdopen(reader, "rb", buffering=0) as pipe:
        while True:
            if not poll.poll(QUIET_S * 1000 if lines.has_buffered_lines else None):
                records = lines.flush()
            elif data := pipe.read(_READ_BYTES):
                records = lines.feed(data)
            else:
                break
            for record in records:
                write(record)
    for record in lines.close():
        write(record)
