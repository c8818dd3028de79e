"""Tally: how many calls a server has answered, counted by its handler and read by the driver without asking it.

The count lies in a file that both map into memory, so reading it costs the server nothing.
"""

from __future__ import annotations

import itertools
import mmap
from typing import TYPE_CHECKING

from bench.place import FOLDER

if TYPE_CHECKING:
    from pathlib import Path

SIZE_BYTES = 8


class Tally:
    """The count of one server: `add` in the server, `value` in the driver, which `reset` it before the server began."""

    def __init__(self, name: str) -> None:
        with path_of_tally(name).open("r+b") as file:
            self._count = memoryview(mmap.mmap(file.fileno(), SIZE_BYTES)).cast("Q")
        # Threads may count at once: the next number is given in one step, where adding one takes several.
        self._numbers = itertools.count(1)

    def add(self) -> None:
        """Count one call."""
        self._count[0] = next(self._numbers)

    @property
    def value(self) -> int:
        """The calls counted so far."""
        return self._count[0]


def path_of_tally(name: str) -> Path:
    """Return the file that holds the count of the server called `name`."""
    return FOLDER / f"{name}.tally"


def reset_tally(name: str) -> None:
    """Begin the count of the server called `name` at 0."""
    path_of_tally(name).write_bytes(bytes(SIZE_BYTES))
