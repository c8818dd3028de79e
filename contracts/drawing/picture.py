"""Pictures of a call graph: boxes in columns, with lines between them, before they get positions or a format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contracts.edges import EdgeKind


@dataclass(frozen=True, slots=True)
class Row:
    """Method or event in a box. `value` is its deadline, `note` a remark below it."""

    key: str
    label: str
    value: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Box:
    """Box with a title, rows and a last line `note`. Boxes with the same `colour` (from 0) look alike."""

    key: str
    title: str
    colour: int
    value: str = ""
    rows: tuple[Row, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Port:
    """End of a line: a row of a box, or the title of the box if `row` is empty."""

    box: str
    row: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """Arrow between two ports. `value` is the deadline of the callee, and `text` the explanation of the arrow."""

    source: Port
    target: Port
    kind: EdgeKind
    colour: int
    value: str
    text: str


@dataclass(frozen=True, slots=True)
class Picture:
    """Columns of boxes from left to right, and the lines between their ports."""

    title: str
    columns: tuple[tuple[Box, ...], ...]
    lines: tuple[Line, ...]
    note: str = ""

    def boxes(self) -> list[Box]:
        """Return the boxes of all columns."""
        return [box for column in self.columns for box in column]
