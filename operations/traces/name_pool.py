"""Pool of names: one object for all equal names, so that thousands of traces share their few names."""

from __future__ import annotations

import sys
from typing import TypeVar

# Longer names are cut, and further names of a trace are dropped. No contract reaches these limits.
MAX_NAME_LENGTH = 200
MAX_NAMES = 32
# The pool of a mesh has a few hundred entries. A program that invents names must not fill the memory.
MAX_ENTRIES = 4096

Name = TypeVar("Name", str, tuple[str, ...])


class NamePool:
    """Pool of names and of sorted tuples of names.

    `new_bytes` is the total size of all objects that the pool had to store. A full pool is emptied. Its names are then
    stored anew, and objects in use stay as they are.
    """

    def __init__(self) -> None:
        self.new_bytes = 0
        self._known: dict[str | tuple[str, ...], str | tuple[str, ...]] = {}

    def name(self, text: str) -> str:
        """Return the pool's object for a name."""
        return self._shared(text[:MAX_NAME_LENGTH])

    def with_name(self, names: tuple[str, ...], text: str) -> tuple[str, ...]:
        """Return the pool's object for `names` and one more name, sorted and without duplicates."""
        name = self.name(text)
        if name in names or len(names) == MAX_NAMES:
            return names
        return self._shared(tuple(sorted((*names, name))))

    def _shared(self, value: Name) -> Name:
        known = self._known.get(value)
        if isinstance(known, type(value)):
            return known
        if len(self._known) >= MAX_ENTRIES:
            self._known.clear()
        self._known[value] = value
        self.new_bytes += sys.getsizeof(value)
        return value
