"""Core lines: the messages that gRPC's core prints between two tests, kept in a file and out of the output of a run.

What it prints during a test is captured by pytest and shown where the test fails. Between tests nothing is captured:
there the core says of each closed connection that it is closed ("Got goaway"), a hundred times in a run.
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
# What begins with neither is passed on without waiting for its end.
PAUSE_MS = 200
PATIENCE_S = 5.0
# The beginnings of lines that abseil writes; a fatal one is why a process dies, so it is shown.
_CORE_LINE = re.compile(
    rb"([IWE])\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ [\w./-]+:\d+\] |WARNING: All log messages before absl::"
)


class CoreLines:
    """Reads what the processes of a test run write to `descriptor`, and keeps the lines of gRPC's core in `path`.

    All other text is passed on to where it would have gone. `seen` counts the kept lines by level: I, W, E.
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
        """Give the descriptor back, and pass on what is left."""
        os.dup2(self._original, self._descriptor)
        # A process that outlives the run may hold the pipe open.
        self._thread.join(PATIENCE_S)

    def summary(self) -> str:
        """Return a sentence about the warnings and errors among the lines; empty where there are none."""
        count = self.seen["W"] + self.seen["E"]
        return f"gRPC's core printed {count} warnings and errors between tests: {self.path}" if count else ""

    def _read(self, reader: int) -> None:
        poll, begun = select.poll(), b""
        poll.register(reader, select.POLLIN)
        with os.fdopen(reader, "rb", buffering=0) as pipe, self.path.open("wb", buffering=0) as kept:
            while True:
                if poll.poll(PAUSE_MS if begun else None):
                    data = pipe.read(READ_BYTES)
                    if not data:
                        break
                    *lines, begun = (begun + data).split(b"\n")
                    for line in lines:
                        self._sort(line + b"\n", kept.fileno())
                else:
                    self._sort(begun, kept.fileno())
                    begun = b""
            self._sort(begun, kept.fileno())

    def _sort(self, line: bytes, kept: int) -> None:
        core = _CORE_LINE.match(line)
        if core:
            self.seen[(core[1] or b"I").decode()] += 1
        os.write(kept if core else self._original, line)
