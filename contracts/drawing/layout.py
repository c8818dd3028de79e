"""Layout of a picture: the place of each box, and the path of each line, in pixels."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from contracts.drawing.places import GAP, GUTTER, LANE, MARGIN, Place, places_of
from contracts.edges import EdgeKind

if TYPE_CHECKING:
    from contracts.drawing.picture import Line, Picture

# Length of the straight end of a line, with the head of the arrow.
TIP = 10
# Later calls leave a title below calls, so that dashes do not hide in a solid line.
LATER_OFFSET = 5


class Layout:
    """Places of all boxes by key, the path of each line in SVG's syntax, and the size of the whole.

    A line over several columns passes between the boxes of a column. Such a passage is a lane, and each gap between
    boxes is as high as its lanes need. `gutter` is the space between two columns.
    """

    def __init__(self, picture: Picture, gutter: float = GUTTER) -> None:
        self._picture = picture
        self._gutter = gutter
        self._lanes: dict[tuple[int, int], list[Line]] = defaultdict(list)
        self.places = places_of(picture, {}, gutter)
        for line in picture.lines:
            for column in self._columns_between(line):
                self._lanes[column, self._nearest_gap(line, column)].append(line)
        self.places = places_of(picture, {at: len(lines) for at, lines in self._lanes.items()}, gutter)
        for lines in self._lanes.values():
            lines.sort(key=lambda line: self.places[line.target.box].port_y(line.target))
        self.paths = [(line, self._path(line)) for line in picture.lines]
        self.width, self.height = self._size()

    def target(self, line: Line) -> tuple[float, float, bool]:
        """Return the point at the head of a line, and whether the line arrives from the left."""
        source, target = self._ends(line)
        from_left = source.column < target.column
        return target.x if from_left else target.right, target.port_y(line.target), from_left

    def _path(self, line: Line) -> str:
        """Return curves between the columns, and straight lines beside the boxes of a column."""
        source, target = self._ends(line)
        x = source.x if source.column > target.column else source.right
        y = source.port_y(line.source)
        if line.kind is EdgeKind.LATER and not line.source.row:
            y += LATER_OFFSET
        end_x, end_y, from_left = self.target(line)
        if source.column == target.column:
            return f"M{x:g} {y:g}C{x + 50:g} {y:g} {x + 50:g} {end_y:g} {end_x + TIP:g} {end_y:g}H{end_x:g}"
        path = f"M{x:g} {y:g}"
        columns = self._columns_between(line)
        for column in columns if from_left else reversed(columns):
            box = self.places[self._picture.columns[column][0].key]
            near_x, far_x = (box.x, box.right) if from_left else (box.right, box.x)
            lane_y = self._lane_y(line, column)
            path += _curve(x, y, near_x, lane_y) + f"H{far_x:g}"
            x, y = far_x, lane_y
        return path + _curve(x, y, end_x - TIP if from_left else end_x + TIP, end_y) + f"H{end_x:g}"

    def _ends(self, line: Line) -> tuple[Place, Place]:
        return self.places[line.source.box], self.places[line.target.box]

    def _columns_between(self, line: Line) -> range:
        low, high = sorted(place.column for place in self._ends(line))
        return range(low + 1, high)

    def _nearest_gap(self, line: Line, column: int) -> int:
        """Return the gap of a column that is nearest to a straight line between the ends; gap 0 is above all boxes."""
        source, target = self._ends(line)
        share = (column - source.column) / (target.column - source.column)
        start, end = source.port_y(line.source), target.port_y(line.target)
        gaps = range(len(self._picture.columns[column]) + 1)
        return min(gaps, key=lambda gap: abs(self._gap_y(column, gap) - (start + (end - start) * share)))

    def _gap_y(self, column: int, gap: int) -> float:
        """Return the height just above the box below a gap, or just below the last box."""
        boxes = [self.places[box.key] for box in self._picture.columns[column]]
        return boxes[gap].y - GAP / 2 if gap < len(boxes) else boxes[-1].bottom + GAP / 2

    def _lane_y(self, line: Line, column: int) -> float:
        gap = next(gap for (at, gap), lines in self._lanes.items() if at == column and line in lines)
        lines = self._lanes[column, gap]
        above = len(lines) - 1 if gap < len(self._picture.columns[column]) else 0
        return self._gap_y(column, gap) + LANE * (lines.index(line) - above)

    def _size(self) -> tuple[float, float]:
        last = len(self._picture.columns) - 1
        has_loop = any({place.column for place in self._ends(line)} == {last} for line in self._picture.lines)
        right = max((place.right for place in self.places.values()), default=0.0) + (
            self._gutter / 2 if has_loop else 0
        )
        lanes = (self._lane_y(line, column) for (column, _), lines in self._lanes.items() for line in lines)
        bottom = max([*(place.bottom for place in self.places.values()), *lanes], default=0.0)
        return right + MARGIN, bottom + MARGIN


def _curve(x: float, y: float, to_x: float, to_y: float) -> str:
    middle = (x + to_x) / 2
    return f"C{middle:g} {y:g} {middle:g} {to_y:g} {to_x:g} {to_y:g}"
