"""`solo60 trace`: one request across all services, as a tree with the duration of each call."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from cli.terminal import CommandError, JsonFlag, err, out, print_json, print_table
from mesh.config import load_settings
from mesh.telemetry.spans import StoredSpan, children_of, latest_traces, read_trace, traces_of

if TYPE_CHECKING:
    from collections.abc import Sequence

CLIENT = "CLIENT"
SERVER = "SERVER"


def trace(
    trace_id: Annotated[
        str | None, typer.Argument(metavar="ID", help="Trace id or correlation id. Default: list the latest traces.")
    ] = None,
    number: Annotated[int, typer.Option("-n", min=1, help="Number of latest traces to list.")] = 20,
    *,
    as_json: JsonFlag = False,
) -> None:
    """Show one request across all services as a tree, or list the latest requests."""
    folder = load_settings().local_span_dir
    if trace_id is None:
        _list(latest_traces(folder, number), as_json=as_json)
        return
    trace_id = trace_id.strip()
    if not trace_id:
        raise CommandError("The id is blank. Give a trace id or a correlation id.")
    found = [read_trace(folder, each) for each in (trace_id.lower(), *traces_of(folder, trace_id))]
    traces = [spans for spans in found if spans]
    if not traces:
        raise CommandError(f"There is no trace {trace_id} in {folder}. List the latest traces with `solo60 trace`.")
    if as_json:
        print_json([asdict(span) for spans in traces for span in spans])
        return
    for spans in traces:
        out.print(trace_tree(spans), soft_wrap=False)


def _list(traces: Sequence[Sequence[StoredSpan]], *, as_json: bool) -> None:
    summaries = list(map(_summary, traces))
    if as_json:
        print_json(summaries)
        return
    if not summaries:
        err.print("There are no traces yet.")
        return
    table = Table("trace", "start", "service", "name", "ms", "calls", "errors", "correlation", box=None, pad_edge=False)
    for each in summaries:
        table.add_row(*map(str, each.values()))
    print_table(table)


def _summary(spans: Sequence[StoredSpan]) -> dict[str, object]:
    first = children_of(spans, None)[0]
    start = datetime.fromtimestamp(first.start_ns / 1e9, UTC)
    return {
        "trace_id": first.trace_id,
        "start_time": f"{start:%Y-%m-%d %H:%M:%S} UTC",
        "service": first.service,
        "name": _name_of(first, spans),
        "duration_ms": round((max(span.end_ns for span in spans) - first.start_ns) / 1e6, 1),
        "calls": sum(span.kind == SERVER for span in spans),
        "errors": sum(span.error is not None for span in spans),
        "correlation_id": next((span.correlation_id for span in spans if span.correlation_id), ""),
    }


def _name_of(first: StoredSpan, spans: Sequence[StoredSpan]) -> str:
    """Return the name of the first span and the first method of a trace: "call: GymService/GetGym"."""
    method = next((span_label(span) for span in spans if span.kind == SERVER), "")
    return span_label(first) if "/" in first.name or not method else f"{first.name}: {method}"


def trace_tree(spans: Sequence[StoredSpan]) -> Tree:
    """Return a trace as a tree. The client span and the server span of a call share a line."""
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
    # The line already names the serving service, so the method needs no service name.
    name = span_label(span).rpartition("/")[2] if served else span_label(span)
    line = Text.assemble((hop, "bold"), f"  {name}  ", (f"{span.duration_ms:.1f} ms", "cyan"))
    if served:
        line.append(f"  ({served.duration_ms:.1f} ms inside)", "dim")
    error = span.error or (served.error if served else None)
    if error:
        line.append(f"  {error}", "red")
    return line


def span_label(span: StoredSpan) -> str:
    """Return the name of a span without its package: "GymService/GetGym"."""
    service, slash, method = span.name.lstrip("/").rpartition("/")
    return f"{service.rpartition('.')[2]}/{method}" if slash else span.name


def is_complete_trace(spans: Sequence[StoredSpan]) -> bool:
    """Return whether every call in a trace has a client and a server span, and all spans share one root."""
    with_children = {span.parent_id for span in spans}
    answered = all(span.span_id in with_children for span in spans if span.kind == CLIENT and "/" in span.name)
    return answered and len(children_of(spans, None)) == 1
