"""Call counter shared by a server's handler, which increments it, and the driver, which reads it.

The counter is in a memory-mapped file, so reading it costs the server nothing.
"""

from __future__ import annotations

import itertools
import mmap
from typing import TYPE_CHECKING

from bench.workspace import FOLDER

if TYPE_CHECKING:
    from pathlib import Path

SIZE_BYTES = 8


class Tally:
    """Call counter of one server. The driver calls `reset_tally` before the server starts."""

    def __init__(self, name: str) -> None:
        with path_of_tally(name).open("r+b") as file:
            self._count = memoryview(mmap.mmap(file.fileno(), SIZE_BYTES)).cast("Q")
        # Several threads may count at once. `next` is a single step, while incrementing a number takes several.
        self._numbers = itertools.count(1)

    def add(self) -> None:
        """Count one call."""
        self._count[0] = next(self._numbers)

    @property
    def value(self) -> int:
        """Number of calls counted so far."""
        return self._count[0]


def path_of_tally(name: str) -> Path:
    """Return the file with the counter of the server called `name`."""
    return FOLDER / f"{name}.tally"


def reset_tally(name: str) -> None:
    """Reset the counter of the server called `name` to 0."""
    path_of_tally(name).write_bytes(bytes(SIZE_BYTES))
