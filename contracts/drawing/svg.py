"""SVG of a picture: one file without scripts or external fonts, in light and dark colours."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from contracts.drawing.layout import TIP, Layout
from contracts.drawing.places import CHARACTER, HEAD, MARGIN, NOTE, PADDING, ROW
from contracts.edges import EdgeKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from contracts.drawing.picture import Line, Picture
    from contracts.drawing.places import Place

# Hues with at least 4.5:1 contrast to the background, in light and in dark colours.
LIGHT = ("#0b62c4", "#a34700", "#08783e", "#8a2fb8", "#b3233f", "#00707f", "#6b5d00", "#5a5a66")
DARK = ("#6cb2ff", "#f0a35e", "#5fd08f", "#d29cf5", "#ff8a9e", "#4fcbdb", "#d9c64a", "#b4b4c0")
STYLE = """
svg { --paper: #ffffff; --box: #f6f7f9; --rim: #c9ced6; --text: #1c2128; --dim: #59626f; %s }
@media (prefers-color-scheme: dark) { svg { --paper: #0d1117; --box: #161b22; --rim: #3a424d; --text: #e6e9ee;
--dim: #9aa4b2; %s } }
text { font: 12px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: var(--text); }
.title { font-weight: 700; font-size: 13px; } .value { text-anchor: end; } .dim { fill: var(--dim); font-size: 11px; }
.paper { fill: var(--paper); } .box { fill: var(--box); stroke: var(--rim); }
.line { fill: none; stroke-width: 1.4; } .calls_later { stroke-dasharray: 6 4; }
.subscribes_to { stroke-dasharray: 1.4 4; stroke-linecap: round; stroke-width: 1.8; }
g:hover > .line { stroke-width: 3; }
"""
NAMES = {EdgeKind.CALL: "call", EdgeKind.LATER: "later call", EdgeKind.EVENT: "event"}
LEGEND_HEIGHT = 46


def svg_of(picture: Picture) -> str:
    """Return a picture as SVG."""
    layout = Layout(picture)
    width, height = layout.width, layout.height + LEGEND_HEIGHT
    size = f'viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="title">',
        f'<title id="title">{escape(picture.title)}</title>',
        f"<style>{_style()}</style>",
        f'<rect class="paper" width="{width:g}" height="{height:g}" rx="8"/>',
        *(_line(line, path, layout) for line, path in layout.paths),
        *(part for place in layout.places.values() for part in _box(place)),
        *_legend(picture, layout),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _style() -> str:
    colours = [" ".join(f"--c{index}: {hue};" for index, hue in enumerate(hues)) for hues in (LIGHT, DARK)]
    classes = "".join(f".c{index} {{ --c: var(--c{index}); }}\n" for index in range(len(LIGHT)))
    return STYLE % tuple(colours) + ".line { stroke: var(--c); } .tip, .bar, .hue { fill: var(--c); }\n" + classes


def _hue(colour: int) -> str:
    return f"c{colour % len(LIGHT)}"


def _line(line: Line, path: str, layout: Layout) -> str:
    x, y, from_left = layout.target(line)
    back = 2 - TIP if from_left else TIP - 2
    return (
        f'<g class="{_hue(line.colour)}"><title>{escape(line.text)}</title><path class="line {line.kind}" d="{path}"/>'
        f'<path class="tip" d="M{x:g} {y:g}l{back} -4v8z"/></g>'
    )


def _box(place: Place) -> Iterator[str]:
    box, x, y = place.box, place.x, place.y
    hue = _hue(box.colour)
    yield f'<rect class="box" x="{x:g}" y="{y:g}" width="{place.width:g}" height="{place.height:g}" rx="6"/>'
    yield f'<rect class="bar {hue}" x="{x:g}" y="{y + 6:g}" width="3" height="{HEAD - 12}" rx="1.5"/>'
    yield _text(x + PADDING, y + HEAD / 2, box.title, f"title hue {hue}")
    if box.value:
        yield _text(place.right - PADDING, y + HEAD / 2, box.value, "value")
    for row in box.rows:
        at = place.rows[row.key]
        yield _text(x + PADDING, at, row.label)
        if row.value:
            yield _text(place.right - PADDING, at, row.value, "value dim")
        if row.note:
            yield _text(x + PADDING + 2 * CHARACTER, at + NOTE, row.note, "dim")
    if box.note:
        yield _text(x + PADDING, y + place.height - PADDING / 2 - ROW / 2, box.note, "dim")


def _legend(picture: Picture, layout: Layout) -> Iterator[str]:
    x, y = float(MARGIN), layout.height + 6
    for kind in EdgeKind:
        if any(line.kind is kind for line in picture.lines):
            yield f'<path class="line {kind} c7" d="M{x:g} {y:g}h34"/>'
            yield _text(x + 42, y, NAMES[kind], "dim")
            x += 62 + len(NAMES[kind]) * CHARACTER
    yield _text(MARGIN, y + ROW, picture.note, "dim")


def _text(x: float, y: float, text: str, classes: str = "") -> str:
    named = f' class="{classes}"' if classes else ""
    # A baseline 4 pixels below the centre centres the text, also where `dominant-baseline` is not supported.
    return f'<text x="{x:g}" y="{y + 4:g}"{named}>{escape(text)}</text>'
