"""Finding of a check: one fault of a contract, with its place and the text to write instead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from contracts.image import Location


class Problem(NamedTuple):
    """Fault that a check has found. The message begins with the name of the declaration."""

    location: Location
    message: str


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """Problem with the id of its check. Findings sort by place. The line is 0 if the image has no lines."""

    file: str
    line: int
    id: str
    message: str
