"""Form of the filters of a page, which are part of the page's address."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nicegui import ui

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

COMPONENT = Path(__file__).parent / "static" / "filter_form.js"


@dataclass(frozen=True, slots=True)
class FilterField:
    """One filter: an input, or a choice among `options`, which are pairs of a value and its label.

    `kind` is the type of the input: "text", "datetime-local" or "checkbox" with the value "1" or "". `suggestions` are
    possible texts. `size` is "", "wide" or "narrow".
    """

    name: str
    label: str
    value: str
    placeholder: str = ""
    options: Sequence[tuple[str, str]] | None = None
    kind: str = "text"
    suggestions: Sequence[str] = ()
    size: str = ""


class FilterForm(ui.element, component=COMPONENT):
    """Form that opens `path` with its filled fields as the query. A choice applies at once, a text after Enter.

    `kept` are other parameters of the page, which the form does not change.
    """

    def __init__(self, path: str, fields: Sequence[FilterField], kept: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self.props["action"] = path
        self.props["fields"] = [asdict(field) for field in fields]
        self.props["kept"] = dict(kept or {})


def choice(name: str, label: str, value: str, values: Iterable[str], all_label: str = "all") -> FilterField:
    """Return a choice among `values`, or none of them. A current value that is not among them is offered too."""
    offered = dict.fromkeys((*values, value))
    return FilterField(name, label, value, options=[("", all_label), *((each, each) for each in offered if each)])
