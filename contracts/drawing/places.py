"""Places of boxes: columns from left to right, each in the middle of the height, in pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from contracts.drawing.picture import Box, Picture, Port

MARGIN = 16
# Width of one character of a monospaced font of 12 pixels.
CHARACTER = 7.25
HEAD, ROW, NOTE = 30, 20, 15
PADDING = 12
# Space between two boxes, and between two columns.
GAP, GUTTER = 26, 130
# Space for one line that passes between two boxes.
LANE = 8


@dataclass(frozen=True, slots=True)
class Place:
    """Position of a box. `rows` maps the key of a row to the height of its centre."""

    box: Box
    column: int
    x: float
    y: float
    width: float
    height: float
    rows: Mapping[str, float]

    @property
    def right(self) -> float:
        """Right edge."""
        return self.x + self.width

    @property
    def bottom(self) -> float:
        """Lower edge."""
        return self.y + self.height

    def port_y(self, port: Port) -> float:
        """Return the height of a port."""
        return self.rows[port.row] if port.row else self.y + HEAD / 2


def places_of(picture: Picture, lanes: Mapping[tuple[int, int], int], gutter: float = GUTTER) -> dict[str, Place]:
    """Return the place of each box by key.

    `lanes` maps a column and the number of a box in it to the number of lines that pass above that box. `gutter` is the
    space between two columns.
    """
    extra = {at: LANE * number for at, number in lanes.items()}
    heights = [
        sum(_height(box) + GAP + extra.get((index, above), 0) for above, box in enumerate(column)) - GAP
        for index, column in enumerate(picture.columns)
    ]
    places: dict[str, Place] = {}
    x = float(MARGIN)
    for index, column in enumerate(picture.columns):
        width = max(map(_width, column))
        y = MARGIN + (max(heights) - heights[index]) / 2
        for above, box in enumerate(column):
            y += extra.get((index, above), 0)
            places[box.key] = Place(box, index, x, y, width, _height(box), _rows(box, y))
            y += _height(box) + GAP
        x += width + gutter
    return places


def _rows(box: Box, y: float) -> dict[str, float]:
    rows: dict[str, float] = {}
    at = y + HEAD
    for row in box.rows:
        rows[row.key] = at + ROW / 2
        at += ROW + (NOTE if row.note else 0)
    return rows


def _height(box: Box) -> float:
    rows = sum(ROW + (NOTE if row.note else 0) for row in box.rows)
    return HEAD + rows + (ROW if box.note else 0) + (PADDING / 2 if box.rows or box.note else 0)


def _width(box: Box) -> float:
    # Titles have a larger font, and notes of rows begin two characters further right.
    characters = [
        len(box.title) * 1.15 + 2 + len(box.value),
        len(box.note),
        *(len(row.label) + 2 + len(row.value) for row in box.rows),
        *(len(row.note) + 2 for row in box.rows),
    ]
    return max(characters) * CHARACTER + 2 * PADDING
