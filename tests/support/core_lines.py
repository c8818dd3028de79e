"""Redirection of gRPC's core log lines from the output of a test run into a file.

pytest captures the core's lines during a test and shows them if the test fails. Between tests, pytest captures nothing,
and the core prints a line ("Got goaway") for each closed connection, about a hundred in a run.
"""

from __future__ import annotations

import os
import re
import select
import threading
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

READ_BYTES = 65_536
# An unfinished line is forwarded after this pause, without waiting for its end.
PAUSE_MS = 200
TIMEOUT_S = 5.0
# Prefixes of abseil's log lines, except fatal ones: a fatal line explains the death of a process, so it is forwarded.
_CORE_LINE = re.compile(
    rb"([IWE])\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ [\w./-]+:\d+\] |WARNING: All log messages before absl::"
)


def without_core_lines(text: str) -> str:
    """Return `text` without the log lines of gRPC's core, which connections of earlier tests may add to any output."""
    lines = text.encode().splitlines(keepends=True)
    return b"".join(line for line in lines if not _CORE_LINE.match(line)).decode()


class CoreLineFilter:
    """Filter on `descriptor` that stores the log lines of gRPC's core in `path`.

    All other text is forwarded to the descriptor's original target. `seen` counts the stored lines by level: I, W, E.
    """

    def __init__(self, descriptor: int, path: Path) -> None:
        self.path = path
        self.seen: Counter[str] = Counter()
        self._descriptor = descriptor
        self._original = os.dup(descriptor)
        reader, writer = os.pipe()
        os.dup2(writer, descriptor)
        os.close(writer)
        self._thread = threading.Thread(target=self._read, args=(reader,), name="core lines", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Restore the descriptor and forward the remaining text."""
        os.dup2(self._original, self._descriptor)
        # A process that outlives the run may keep the pipe open, so the wait for the end of the pipe is limited.
        self._thread.join(TIMEOUT_S)

    def summary(self) -> str:
        """Return a sentence with the number of warnings and errors, or an empty string if there are none."""
        count = self.seen["W"] + self.seen["E"]
        return f"gRPC's core printed {count} warnings and errors between tests: {self.path}" if count else ""

    def _read(self, reader: int) -> None:
        poll, begun = select.poll(), b""
        poll.register(reader, select.POLLIN)
        with os.fdopen(reader, "rb", buffering=0) as pipe, self.path.open("wb", buffering=0) as stored:
            while True:
                if poll.poll(PAUSE_MS if begun else None):
                    data = pipe.read(READ_BYTES)
                    if not data:
                        break
                    *lines, begun = (begun + data).split(b"\n")
                    for line in lines:
                        self._sort(line + b"\n", stored.fileno())
                else:
                    self._sort(begun, stored.fileno())
                    begun = b""
            self._sort(begun, stored.fileno())

    def _sort(self, line: bytes, stored: int) -> None:
        core = _CORE_LINE.match(line)
        if core:
            self.seen[(core[1] or b"I").decode()] += 1
        os.write(stored if core else self._original, line)
