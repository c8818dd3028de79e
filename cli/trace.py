"""`solo60 trace`: one request across all services, as a tree with the duration of each call."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from cli.durations import parse_duration
from cli.terminal import CommandError, JsonFlag, err, out, print_json, print_table
from contracts.output import visible
from mesh.config import load_settings
from mesh.telemetry.spans import CLIENT, children_of
from operations.texts import moment
from operations.traces.filter import TraceFilter
from operations.traces.reader import TraceReader, find_traces
from operations.traces.waterfall import waterfall

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mesh.telemetry.spans import StoredSpan
    from operations.traces.summary import TraceSummary
    from operations.traces.waterfall import WaterfallRow

MILLISECOND = timedelta(milliseconds=1)
# Headings, each with the fact in its column.
COLUMNS = {
    "trace": "trace_id",
    "start": "start_time",
    "service": "service",
    "name": "name",
    "ms": "duration_ms",
    "calls": "calls",
    "errors": "errors",
    "caller": "caller",
    "correlation": "correlation_id",
}


def trace(  # noqa: PLR0913 - the filters of the list
    trace_id: Annotated[
        str | None, typer.Argument(metavar="ID", help="Trace id or correlation id. Default: list the latest traces.")
    ] = None,
    number: Annotated[int, typer.Option("-n", min=1, help="Number of latest traces to list.")] = 20,
    method: Annotated[str, typer.Option(help="List traces that call this method, or a part of its name.")] = "",
    service: Annotated[str, typer.Option(help="List traces through this service, such as gym.")] = "",
    caller: Annotated[str, typer.Option(help="List traces whose first call has the key of this caller.")] = "",
    slower_than: Annotated[str, typer.Option(metavar="TIME", help="List slower traces, such as 100ms.")] = "",
    since: Annotated[str, typer.Option(metavar="TIME", help="List traces of the last 15m, 24h or 7d.")] = "",
    *,
    errors: Annotated[bool, typer.Option("--errors", help="List traces with an error.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Show one request across all services as a tree, or list the latest requests."""
    wanted = TraceFilter(
        method=method,
        service=service,
        caller=caller,
        only_errors=errors,
        slower_than_ms=parse_duration("--slower-than", slower_than) / MILLISECOND if slower_than else 0.0,
        since=datetime.now(UTC) - parse_duration("--since", since) if since else None,
    )
    folder = load_settings().local_span_dir
    if trace_id is None:
        _list(folder, wanted, number, as_json=as_json)
        return
    if wanted != TraceFilter():
        raise CommandError("ID: the options for the list of traces do not apply to one trace. Omit either.")
    _show(folder, trace_id.strip(), as_json=as_json)


def _show(folder: Path, trace_id: str, *, as_json: bool) -> None:
    if not trace_id:
        raise CommandError("The id is blank. Give a trace id or a correlation id.")
    traces = find_traces(folder, trace_id)
    if not traces:
        raise CommandError(f"There is no trace {trace_id} in {folder}. List the latest traces with `solo60 trace`.")
    if as_json:
        print_json([asdict(span) for spans in traces for span in spans])
        return
    for spans in traces:
        out.print(trace_tree(spans), soft_wrap=False)


def _list(folder: Path, wanted: TraceFilter, number: int, *, as_json: bool) -> None:
    with closing(TraceReader(folder)) as reader:
        reader.update()
    # The newest trace is the last line, next to the prompt.
    summaries = [facts_of(each) for each in reversed(reader.page(wanted, number).traces)]
    if as_json:
        print_json(summaries)
        return
    if not summaries:
        err.print("There are no traces yet." if wanted == TraceFilter() else "No stored trace meets these conditions.")
        return
    table = Table(*COLUMNS, box=None, pad_edge=False)
    for each in summaries:
        table.add_row(*(Text(visible(str(each[key]))) for key in COLUMNS.values()))
    print_table(table)


def facts_of(trace: TraceSummary) -> dict[str, object]:
    """Return the facts of one trace in a list. The duration is in milliseconds."""
    return {
        "trace_id": trace.trace_id,
        "start_time": moment(trace.start),
        "service": trace.service,
        "name": trace.name,
        "duration_ms": round(trace.duration_ms, 1),
        "calls": trace.calls,
        "errors": trace.errors,
        "caller": trace.caller,
        "correlation_id": trace.correlation_id,
        "methods": trace.methods,
    }


def trace_tree(spans: Sequence[StoredSpan]) -> Tree:
    """Return a trace as a tree. The client span and the server span of a call share a line."""
    tree = Tree(Text(f"trace {spans[0].trace_id}", style="dim"), guide_style="dim")
    branches = [tree]
    for row in waterfall(spans):
        branches[row.depth + 1 :] = [branches[row.depth].add(_line(row))]
    return tree


def _line(row: WaterfallRow) -> Text:
    line = Text.assemble(
        (visible(row.hop), "bold"), f"  {visible(row.label)}  ", (f"{row.span.duration_ms:.1f} ms", "cyan")
    )
    if row.served:
        line.append(f"  ({row.served.duration_ms:.1f} ms inside)", "dim")
    if row.error:
        line.append(f"  {visible(row.error)}", "red")
    return line


def is_complete_trace(spans: Sequence[StoredSpan]) -> bool:
    """Return whether every call in a trace has a client and a server span, and all spans share one root."""
    with_children = {span.parent_id for span in spans}
    answered = all(span.span_id in with_children for span in spans if span.kind == CLIENT and "/" in span.name)
    return answered and len(children_of(spans, None)) == 1
