"""SVG of the map, for the inside of a page.

It is built as a tree of elements. The serializer of the tree escapes every text. All texts come from contracts and
numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from console.pages.map.addresses import edge_key, map_address
from console.pages.map.looks import service_key
from contracts.drawing.layout import TIP
from contracts.drawing.places import HEAD, NOTE, PADDING, ROW
from contracts.names import short_name, short_package

if TYPE_CHECKING:
    from collections.abc import Mapping

    from console.pages.map.looks import Look
    from console.pages.map.plan import MapLine, Plan
    from contracts.drawing.picture import Row
    from contracts.drawing.places import Place


def map_svg(plan: Plan, looks: Mapping[str, Look], chosen: str) -> str:
    """Return the picture as SVG. `chosen` is the address of the part that the reader chose, or ""."""
    width, height = f"{plan.layout.width:g}", f"{plan.layout.height:g}"
    svg = ET.Element("svg", {"class": "map", "viewBox": f"0 0 {width} {height}", "width": width, "height": height})
    svg.set("role", "group")
    svg.set("aria-label", "Calls between services")
    for line in plan.lines:
        _line(svg, plan, line, looks[line.key], chosen)
    for place in plan.layout.places.values():
        _box(svg, place, looks[service_key(short_package(place.box.key))], chosen)
    for line in plan.lines:
        _numbers(svg, plan, line, looks[line.key])
    return ET.tostring(svg, encoding="unicode")


def _line(svg: ET.Element, plan: Plan, line: MapLine, look: Look, chosen: str) -> None:
    group = ET.SubElement(svg, "g", {"id": line.key, "class": look.classes})
    address = map_address(edge=edge_key(*line.pair))
    link = _link(group, address, f"{line.pair[0]} to {short_name(line.pair[1])}", chosen)
    ET.SubElement(link, "title").text = line.line.text
    ET.SubElement(link, "path", {"class": "hit", "d": line.path})
    ET.SubElement(link, "path", {"class": f"line {line.line.kind}", "d": line.path})
    ET.SubElement(link, "path", {"class": "tip", "d": _tip(plan, line)})


def _tip(plan: Plan, line: MapLine) -> str:
    x, y, from_left = plan.layout.target(line.line)
    return f"M{x:g} {y:g}l{2 - TIP if from_left else TIP - 2} -4v8z"


def _numbers(svg: ET.Element, plan: Plan, line: MapLine, look: Look) -> None:
    """Draw the numbers of a line above its end, where no other line ends."""
    x, y, from_left = plan.layout.target(line.line)
    at = {"x": f"{x - TIP - 2 if from_left else x + TIP + 2:g}", "y": f"{y - 4:g}"}
    group = ET.SubElement(svg, "g", {"id": f"{line.key}t", "class": look.classes})
    text = ET.SubElement(group, "text", {**at, "class": "numbers", "text-anchor": "end" if from_left else "start"})
    _spans(text, look)


def _spans(text: ET.Element, look: Look) -> None:
    for name, value in zip(("rate", "errors", "time"), look.texts, strict=True):
        span = ET.SubElement(text, "tspan", {"class": name, **({} if name == "rate" else {"dx": "6"})})
        span.text = value


def _box(svg: ET.Element, place: Place, look: Look, chosen: str) -> None:
    box, name = place.box, short_package(place.box.key)
    group = ET.SubElement(svg, "g", {"id": service_key(name), "class": look.classes})
    size = {"x": f"{place.x:g}", "y": f"{place.y:g}", "width": f"{place.width:g}", "height": f"{place.height:g}"}
    ET.SubElement(group, "rect", {"class": "box", "rx": "8", **size})
    link = _link(group, map_address(service=name), f"service {name}", chosen)
    ET.SubElement(link, "rect", {"class": "head", "rx": "8", **size, "height": f"{HEAD:g}"})
    dot = {"cx": f"{place.x + PADDING + 4:g}", "cy": f"{place.y + HEAD / 2:g}", "r": "4"}
    ET.SubElement(link, "circle", {"class": "dot", **dot})
    _text(link, place.x + PADDING + 16, place.y + HEAD / 2, name, "name")
    for row in box.rows:
        _row(group, place, row, chosen)
    totals = _text(group, place.x + PADDING, place.bottom - PADDING / 2 - ROW / 2, "", "totals")
    _spans(totals, look)


def _row(group: ET.Element, place: Place, row: Row, chosen: str) -> None:
    method, _, caller = row.key.partition(" ")
    y = place.rows[row.key]
    if "/" not in method:
        _text(group, place.x + PADDING, y, row.label, "event")
        _text(group, place.right - PADDING, y, row.value, "value")
    elif caller:
        _text(group, place.x + PADDING + NOTE, y, row.label.strip(), "caller")
    else:
        link = _link(group, map_address(method=short_name(method)), short_name(method), chosen)
        _text(link, place.x + PADDING, y, row.label)


def _link(parent: ET.Element, address: str, label: str, chosen: str) -> ET.Element:
    link = ET.SubElement(parent, "a", {"href": address, "aria-label": label})
    if address == chosen:
        link.set("class", "chosen")
        link.set("aria-current", "true")
    return link


def _text(parent: ET.Element, x: float, y: float, text: str, classes: str = "") -> ET.Element:
    # A baseline 4 pixels below the centre centres the text in every browser.
    element = ET.SubElement(parent, "text", {"x": f"{x:g}", "y": f"{y + 4:g}"})
    if classes:
        element.set("class", classes)
    element.text = text
    return element
