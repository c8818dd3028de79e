"""Filter form of a page: its fields become the query of the address, so that a view can be sent to a colleague."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from nicegui import ui

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@contextmanager
def filter_form(path: str) -> Iterator[None]:
    """Draw a form that leads to `path` with the values of its fields. The block draws the fields."""
    with ui.element("form").props("method=get").classes("filters") as form:
        form.props["action"] = path
        yield
        ui.button("Filter").props("type=submit outline dense no-caps")


def choice(name: str, label: str, options: Mapping[str, str], chosen: str) -> None:
    """Draw a field with a list of `options`: the texts by their values. A value beyond the list is an option too."""
    with ui.element("label"):
        ui.label(label)
        select = ui.element("select")
        select.props["name"] = name
        with select:
            for value, text in {**options, **({} if chosen in options else {chosen: chosen})}.items():
                option = ui.element("option")
                option.props["value"], option.props["label"] = value, text
                if value == chosen:
                    option.props["selected"] = True


def text_field(name: str, label: str, value: str) -> None:
    """Draw a field for text."""
    with ui.element("label"):
        ui.label(label)
        field = ui.element("input").props("type=text autocomplete=off spellcheck=false")
        field.props["name"], field.props["value"] = name, value


def address_of(path: str, **query: str) -> str:
    """Return a path with the values of a query that are not empty."""
    filled = {name: value for name, value in query.items() if value}
    return f"{path}?{urlencode(filled)}" if filled else path
