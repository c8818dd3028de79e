"""Table for long lists, which the browser draws by itself: an element per cell would cost 4 KiB each."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nicegui import ui

from operations.texts import moment

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

COMPONENT = Path(__file__).parent / "static" / "text_table.js"


@dataclass(frozen=True, slots=True)
class Cell:
    """Text in a table, shown as text. `path` makes it a link within the console, and each note has its own line.

    `tone` is that of `widgets.badge`, also for a text that is no badge. The cell spans `columns` columns. Raises
    ValueError if `path` is not a path of the console.
    """

    text: str
    path: str = ""
    notes: Sequence[str] = ()
    is_badge: bool = False
    tone: str = ""
    is_time: bool = False
    columns: int = 1

    def __post_init__(self) -> None:
        if self.path and (not self.path.startswith("/") or self.path.startswith("//")):
            raise ValueError(f"{self.path}: not a path of the console.")


class TextTable(ui.element, component=COMPONENT):
    """Table with one row per item. A cell is a Cell, or its text.

    Numbers are aligned to the right, and so are the columns in `numbers`, counted from 0.
    """

    def __init__(
        self, headings: Sequence[str], rows: Iterable[Sequence[Cell | str | int]], numbers: Sequence[int] = ()
    ) -> None:
        super().__init__()
        cells = [tuple(row) for row in rows]
        counts = {place for row in cells for place, cell in enumerate(row) if isinstance(cell, int)}
        self.props["headings"] = list(headings)
        self.props["numbers"] = sorted({*numbers, *counts})
        self.show(cells)

    def show(self, rows: Iterable[Sequence[Cell | str | int]]) -> None:
        """Show other rows. The browser changes only the cells that differ."""
        shown = [[asdict(cell if isinstance(cell, Cell) else Cell(str(cell))) for cell in row] for row in rows]
        if shown != self.props.get("rows"):
            self.props["rows"] = shown
            self.update()


def time_of(time: datetime | None, *, milliseconds: bool = False) -> Cell:
    """Return a cell with a time and its zone, or an empty one for None."""
    return Cell(moment(time, milliseconds=milliseconds), is_time=True)
