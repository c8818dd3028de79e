"""Form of the filters of a page, which are part of the page's address."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nicegui import ui

if TYPE_CHECKING:
    from collections.abc import Sequence

COMPONENT = Path(__file__).parent / "static" / "filter_form.js"


@dataclass(frozen=True, slots=True)
class FilterField:
    """One filter: a text, or a choice among `options`, which are pairs of a value and its label."""

    name: str
    label: str
    value: str
    placeholder: str = ""
    options: Sequence[tuple[str, str]] | None = None
    wide: bool = False


class FilterForm(ui.element, component=COMPONENT):
    """Form that leads to `path` with the fields that have a value. A choice applies at once, a text after Enter."""

    def __init__(self, path: str, fields: Sequence[FilterField]) -> None:
        super().__init__()
        self.props["action"] = path
        self.props["fields"] = [asdict(field) for field in fields]
