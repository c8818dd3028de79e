"""`solo60 trace`: one request over all its hops, as a tree with the milliseconds of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text
from rich.tree import Tree

from cli.screen import CommandError, out
from mesh.config import load_settings
from mesh.spans import StoredSpan, children_of, read_trace

if TYPE_CHECKING:
    from collections.abc import Sequence

CLIENT = "CLIENT"
SERVER = "SERVER"


def trace(
    trace_id: Annotated[str, typer.Argument(help="As the booking demo prints it.")],
) -> None:
    """Show a trace as a tree."""
    folder = load_settings().local_span_dir
    spans = read_trace(folder, trace_id)
    if not spans:
        raise CommandError(f"There is no trace {trace_id} in {folder}.")
    out.print(trace_tree(spans), soft_wrap=False)


def trace_tree(spans: Sequence[StoredSpan]) -> Tree:
    """Return a trace as a tree; a call and how it was served share a line."""
    tree = Tree(Text(f"trace {spans[0].trace_id}", style="dim"), guide_style="dim")
    for root in children_of(spans, None):
        _add(tree, root, spans)
    return tree


def _add(tree: Tree, span: StoredSpan, spans: Sequence[StoredSpan]) -> None:
    below = children_of(spans, span)
    served = below[0] if span.kind == CLIENT and len(below) == 1 and below[0].kind == SERVER else None
    branch = tree.add(_line(span, served))
    for child in children_of(spans, served) if served else below:
        _add(branch, child, spans)


def _line(span: StoredSpan, served: StoredSpan | None) -> Text:
    hop = f"{span.service} → {served.service}" if served else span.service
    # Who serves it says of which service the method is.
    name = short_name(span).rpartition("/")[2] if served else short_name(span)
    line = Text.assemble((hop, "bold"), f"  {name}  ", (f"{span.duration_ms:.1f} ms", "cyan"))
    if served:
        line.append(f"  ({served.duration_ms:.1f} ms inside)", "dim")
    error = span.error or (served.error if served else None)
    if error:
        line.append(f"  {error}", "red")
    return line


def short_name(span: StoredSpan) -> str:
    """Return a method without its package: "GymService/GetGym"."""
    service, slash, method = span.name.lstrip("/").rpartition("/")
    return f"{service.rpartition('.')[2]}/{method}" if slash else span.name


def is_whole(spans: Sequence[StoredSpan]) -> bool:
    """Whether every call of a method in a trace has both its halves, and all hang together under one root."""
    with_children = {span.parent_id for span in spans}
    answered = all(span.span_id in with_children for span in spans if span.kind == CLIENT and "/" in span.name)
    return answered and len(children_of(spans, None)) == 1
