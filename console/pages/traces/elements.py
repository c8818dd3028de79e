"""Plain HTML elements with text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement

from console.frame import VERSION

if TYPE_CHECKING:
    from datetime import datetime

SECOND_MS = 1_000
MINUTE_MS = 60_000
STYLESHEET = f'<link rel="stylesheet" href="/static/traces.css?{VERSION}">'


def add_stylesheet() -> None:
    """Load the style of the pages about traces."""
    ui.add_head_html(STYLESHEET)


def text(tag: str, shown: str, classes: str = "") -> TextElement:
    """Show a text, as text, in an element such as "span" or "td"."""
    return TextElement(tag=tag, text=shown).classes(classes)


def duration(ms: float) -> str:
    """Return a duration with its unit: "0.42 ms", "12.3 ms", "1.52 s", "2 min 5 s"."""
    if ms < SECOND_MS:
        return f"{ms:.1f} ms" if ms >= 1 else f"{ms:.2f} ms"
    if ms < MINUTE_MS:
        return f"{ms / SECOND_MS:.2f} s"
    minutes, seconds = divmod(round(ms / SECOND_MS), 60)
    return f"{minutes} min {seconds} s"


def clock_time(at: datetime) -> str:
    """Return the time of a day, in UTC: "08:15:00.123 UTC"."""
    return f"{at:%H:%M:%S}.{at.microsecond // 1000:03} UTC"
