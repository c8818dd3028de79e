"""Page `/map`: the calls between services, with live numbers, as a picture or a table."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from nicegui import ui

from console.frame import VERSION, page
from console.pages.map.addresses import map_address
from console.pages.map.live import LivePicture, LiveTexts
from console.pages.map.looks import looks_of
from console.pages.map.panel import draw_panel
from console.pages.map.plan import plan_of
from console.pages.map.svg import map_svg
from console.pages.map.table import EdgeTable
from contracts.names import short_name
from mesh.serving.health_probe import SERVING
from operations.metrics.reader import INTERVAL_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from console.frame import View
    from operations.metrics.traffic import Traffic

HEAD = f'<link rel="stylesheet" href="/static/map.css?{VERSION}"><script defer src="/static/map.js?{VERSION}"></script>'
TABLE = "table"
# The page opens without the health of the services if that takes longer.
FIRST_READ_S = 0.3
# Parameters that choose a part, in the order of their precedence.
PARTS = ("edge", "method", "service")
# One element for the whole legend, because every element of a page costs memory for each viewer.
LEGEND = """
<span><i class="swatch"></i>call</span>
<span><i class="swatch later"></i>later call</span>
<span><i class="swatch event"></i>event</span>
<span><i class="swatch busy"></i>calls in the window; thicker from 1, 10 and 100/s</span>
<span><i class="swatch warn"></i>some calls failed, or breaker half open</span>
<span><i class="swatch bad"></i>5 % or more failed, or breaker open</span>
<span><i class="swatch undeclared"></i>undeclared call</span>
<span>Numbers: calls, errors, p99. An error such as SLOT_TAKEN is an answer of the service, so it is no failure.</span>
"""


@page("/map", "Map")
async def call_map(view: View) -> None:
    """Show the picture or the table, and a panel about the chosen part."""
    ui.add_head_html(HEAD)
    traffic, statuses = await _first_read(view)
    live = LiveTexts(traffic)
    is_table = view.query("view") == TABLE
    _draw_bar(live, is_table=is_table)
    alerts = _Alerts()
    alerts.show(traffic, statuses)
    has_panel = any(view.query(name) for name in PARTS)
    with ui.element("div").classes("map-parts" + (" with-panel" if has_panel else "")):
        with ui.element("div"):
            show = _draw_table(view, live) if is_table else _draw_picture(view, traffic, statuses)
        if has_panel:
            draw_panel(view, live, {"view": TABLE} if is_table else {})

    async def refresh() -> None:
        traffic, statuses = await view.console.traffic.get(), await _statuses(view)
        live.show(traffic)
        alerts.show(traffic, statuses)
        show(traffic, statuses)

    ui.timer(INTERVAL_S, refresh)


async def _first_read(view: View) -> tuple[Traffic, Mapping[str, str]]:
    """Return the traffic, and the statuses if they are known in time: those of a frozen service take 2 s."""
    health = view.console.health.begin()
    traffic = await view.console.traffic.get()
    done, _ = await asyncio.wait([health], timeout=FIRST_READ_S)
    return traffic, (await _statuses(view)) if done else {}


async def _statuses(view: View) -> Mapping[str, str]:
    report, _ = await view.console.health.get()
    return {name: str(entry["status"]) for name, entry in report.items()}


def _draw_bar(live: LiveTexts, *, is_table: bool) -> None:
    with ui.element("div").classes("map-bar"):
        with ui.element("div").classes("views").props('role=group aria-label="View"'):
            for name, address, is_here in (
                ("Picture", map_address(), not is_table),
                ("Table", map_address(view=TABLE), is_table),
            ):
                link = ui.link(name, address).classes("here" if is_here else "")
                if is_here:
                    link.props("aria-current=page")
        with ui.element("form").props('method=get action="/map" role=search').classes("map-form"):
            if is_table:
                ui.element("input").props("type=hidden name=view value=table")
            ui.element("input").props(
                'name=method aria-label="Method" placeholder="Method, such as gym.GetGym" size=28'
            ).classes("field")
            with ui.element("button").props("type=submit").classes("plain-button"):
                ui.label("Show its paths")
        live.add(_window_text).classes("note")


def _window_text(traffic: Traffic) -> str:
    if not traffic.window_s:
        return "The first numbers follow within 2 seconds."
    return f"Numbers of the last {traffic.window_s:.0f} s, read every {INTERVAL_S:.0f} s."


class _Alerts:
    """Lines about services without health or metrics, and about undeclared calls. They are redrawn if they change."""

    def __init__(self) -> None:
        self._box = ui.element("div").classes("map-alerts").props("role=status")
        self._shown: list[str] = []

    def show(self, traffic: Traffic, statuses: Mapping[str, str]) -> None:
        """Show the lines of now."""
        lines = list(_alerts(traffic, statuses))
        if lines == self._shown:
            return
        self._shown = lines
        self._box.clear()
        with self._box:
            for line in lines:
                ui.label(line).classes("alert")


def _alerts(traffic: Traffic, statuses: Mapping[str, str]) -> Iterator[str]:
    for name, status in statuses.items():
        if status != SERVING:
            yield f"{name} is {status}. The page Now shows the reason, and so does solo60 health."
        elif traffic.services[name].problem:
            yield f"{name}: no metrics: {traffic.services[name].problem}"
    for edge in traffic.undeclared():
        yield f"{edge.caller} calls {short_name(edge.method)}, which no contract of {edge.caller} declares."


def _draw_picture(
    view: View, traffic: Traffic, statuses: Mapping[str, str]
) -> Callable[[Traffic, Mapping[str, str]], None]:
    undeclared = ((edge.caller, edge.method) for edge in traffic.undeclared() if edge.caller != edge.callee)
    plan = plan_of(tuple(undeclared))
    chosen = next((map_address(**{name: view.query(name)}) for name in PARTS if view.query(name)), "")
    looks = looks_of(plan, traffic, statuses)
    # The serializer of the picture escapes every text, so it needs no sanitizer.
    ui.html(map_svg(plan, looks, chosen), sanitize=False).classes("map-scroll")
    picture = LivePicture(ui.context.client, looks)
    if chosen:
        ui.run_javascript("solo60Map.reveal()")
    ui.html(LEGEND, sanitize=False).classes("map-legend")
    return lambda traffic, statuses: picture.show(looks_of(plan, traffic, statuses))


def _draw_table(view: View, live: LiveTexts) -> Callable[[Traffic, Mapping[str, str]], None]:
    table = EdgeTable(view, live)
    return lambda traffic, _: table.show(traffic)
