"""`solo60 journey`: one booking or subscription from end to end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from cli.operator import operator_channels, operator_settings
from cli.terminal import JsonFlag, err, out, print_json, print_table
from operations.journeys.journey import read_journey

if TYPE_CHECKING:
    from operations.journeys.journey import Journey


def journey(
    subject_id: Annotated[str, typer.Argument(metavar="ID", help="Id of a session or a subscription.")],
    *,
    as_json: JsonFlag = False,
) -> None:
    """Show one booking or subscription: its state, its steps across all services, and its pending work."""
    found = asyncio.run(_read(subject_id.strip()))
    if as_json:
        print_json(found.as_json())
    else:
        _print(found)


async def _read(subject_id: str) -> Journey:
    settings = operator_settings()
    async with operator_channels(settings) as channels:
        return await read_journey(settings, channels, subject_id)


def _print(found: Journey) -> None:
    subject = found.subject
    out.print(f"[bold]{subject.kind} {subject.subject_id}[/]  {subject.status}")
    for sentence in found.waits or ["Nothing is pending."]:
        out.print(sentence, markup=False)
    table = Table("time (UTC)", "step", "by", "outcome", "ms", "undone by", box=None, pad_edge=False)
    for step in found.steps:
        outcome = f"{step.outcome}: {step.error}" if step.error else step.outcome
        table.add_row(
            f"{step.time:%Y-%m-%d %H:%M:%S.%f}"[:-3],
            step.method,
            f"{step.caller}, {step.kind}",
            Text(outcome),
            "" if step.duration_ms is None else f"{step.duration_ms:.1f}",
            ", ".join(step.undone_by),
        )
    print_table(table, folds=("outcome", "undone by"))
    for failure in found.failures:
        err.print(failure, style="yellow", markup=False)
