"""Live parts of a page: labels and pictures that change only where their values change."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement

from operations.metrics.texts import duration_ms_text, rate_text, share_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nicegui import Client

    from console.pages.map.looks import Look
    from operations.metrics.tally import Rates
    from operations.metrics.traffic import Traffic

NONE = "none"


class LiveTexts:
    """Elements that show values of the latest traffic. Only a changed value is sent to the browser."""

    def __init__(self, traffic: Traffic) -> None:
        self.traffic = traffic
        self._shown: list[tuple[TextElement, Callable[[Traffic], str], Callable[[Traffic], str] | None]] = []

    def add(
        self, read: Callable[[Traffic], str], tag: str = "div", tone: Callable[[Traffic], str] | None = None
    ) -> TextElement:
        """Show the text that `read` returns, with the class that `tone` returns, and return the element."""
        element = TextElement(tag=tag, text=read(self.traffic))
        if tone is not None:
            element.classes(tone(self.traffic))
        self._shown.append((element, read, tone))
        return element

    def show(self, traffic: Traffic) -> None:
        """Show the values of `traffic`."""
        before, self.traffic = self.traffic, traffic
        for element, read, tone in self._shown:
            element.set_text(read(traffic))
            if tone is not None and tone(traffic) != tone(before):
                element.classes(remove=tone(before), add=tone(traffic))


class LivePicture:
    """Looks of the picture in one browser. Only changed looks are sent."""

    def __init__(self, client: Client, looks: Mapping[str, Look]) -> None:
        self._client = client
        self._shown = dict(looks)

    def show(self, looks: Mapping[str, Look]) -> None:
        """Show new looks of the same parts."""
        changed = [[key, *look] for key, look in looks.items() if self._shown.get(key) != look]
        self._shown = dict(looks)
        if changed:
            # Keys, classes and numbers: none of it is text from outside.
            self._client.run_javascript(f"solo60Map.show({json.dumps(changed)})")


def live_facts(
    live: LiveTexts, rates: Callable[[Traffic], Rates], others: Mapping[str, Callable[[Traffic], str]] | None = None
) -> None:
    """Show all rates, and other facts, one per line."""
    facts: dict[str, Callable[[Traffic], str]] = {
        "calls": lambda traffic: rate_text(rates(traffic).calls_per_s) or NONE,
        "errors": lambda traffic: share_text(rates(traffic).error_share) or NONE,
        "p50, p99": lambda traffic: _durations(rates(traffic)),
        "outcomes": lambda traffic: _outcomes(rates(traffic)),
        **(others or {}),
    }
    with ui.element("dl").classes("facts"):
        for name, read in facts.items():
            with ui.element("dt"):
                ui.label(name)
            live.add(read, "dd")


def _durations(rates: Rates) -> str:
    found = [duration_ms_text(each) for each in (rates.p50_ms, rates.p99_ms)]
    return ", ".join(filter(None, found)) or "unknown"


def _outcomes(rates: Rates) -> str:
    return ", ".join(f"{name}: {number:g}" for name, number in rates.outcomes.items()) or "only OK"


def live_row(live: LiveTexts, name: str, address: str, rates: Callable[[Traffic], Rates]) -> None:
    """Show a row of a table: a link, the calls, the errors and the 99th percentile."""
    with ui.element("tr"):
        with ui.element("td"):
            ui.link(name, address)
        for read in (
            lambda traffic: rate_text(rates(traffic).calls_per_s),
            lambda traffic: share_text(rates(traffic).error_share),
            lambda traffic: duration_ms_text(rates(traffic).p99_ms),
        ):
            live.add(read, "td").classes("number")
