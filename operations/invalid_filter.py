"""Error for an invalid filter of a list."""

from __future__ import annotations

from mesh.failure import Failure


class InvalidFilter(Failure):
    """A filter has a value that can match nothing. `field` is the name of the filter; the message begins with it."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
