"""Mermaid flowchart of a picture, which code hosts show in Markdown."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from contracts.drawing.picture import Port
from contracts.edges import EdgeKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from contracts.drawing.picture import Box, Picture

ARROWS = {EdgeKind.CALL: "-->", EdgeKind.LATER: "-.->", EdgeKind.EVENT: "-.->"}
# Mermaid has one dashed line, so the length of its dashes tells later calls and events apart.
DASHES = {EdgeKind.LATER: "6 4", EdgeKind.EVENT: "1 4"}


def mermaid_of(picture: Picture) -> str:
    """Return a picture as a Mermaid flowchart: a subgraph for each box with rows, and a node for each row.

    Lines from a title begin at a round node beside the subgraph, because Mermaid draws lines from a subgraph across
    others.
    """
    ids, callers = _ids(picture), {line.source for line in picture.lines}
    lines = ["flowchart LR"]
    lines += [
        f"  {ids[port]}([{_quoted(box.title)}])"
        for box in picture.boxes()
        if box.rows and (port := Port(box.key)) in callers
    ]
    lines += [part for box in picture.boxes() for part in _box(box, ids)]
    for line in picture.lines:
        label = f"|{_quoted(line.value)}|" if line.value else ""
        lines.append(f"  {ids[line.source]} {ARROWS[line.kind]}{label} {ids[line.target]}")
    for kind, dashes in DASHES.items():
        numbers = ",".join(str(number) for number, line in enumerate(picture.lines) if line.kind is kind)
        if numbers:
            lines.append(f"  linkStyle {numbers} stroke-dasharray: {dashes}")
    return "\n".join(lines) + "\n"


def _box(box: Box, ids: Mapping[Port, str]) -> Iterator[str]:
    here = ids[Port(box.key)]
    if not box.rows:
        yield f"  {here}[{_quoted(' '.join(filter(None, (box.title, box.value))))}]"
        return
    yield f"  subgraph in_{here}[{_quoted(box.title)}]"
    for row in box.rows:
        yield f"    {ids[Port(box.key, row.key)]}[{_quoted(row.label)}]"
    yield "  end"


def _ids(picture: Picture) -> dict[Port, str]:
    """Return a unique identifier for each port. An underscore keeps it apart from keywords, such as "end"."""
    ids: dict[Port, str] = {}
    taken: set[str] = set()
    for box in picture.boxes():
        names = {Port(box.key): "", **{Port(box.key, row.key): row.label for row in box.rows}}
        for port, name in names.items():
            wanted = re.sub(r"[^A-Za-z0-9]", "_", f"{box.title}_{name}")
            unique = wanted if wanted not in taken else f"{wanted}_{len(taken)}"
            taken.add(unique)
            ids[port] = unique
    return ids


def _quoted(text: str) -> str:
    return '"' + text.replace('"', "#quot;") + '"'
