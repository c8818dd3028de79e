"""`solo60 now`: all problems of the mesh in order of harm, as on the first page of the console."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import typer
from rich.text import Text

from cli.operator import operator_channels, operator_settings
from cli.terminal import JsonFlag, out, print_json
from mesh.telemetry.untraced import untraced
from operations.health.now import NowReader
from operations.health.problems import Harm
from operations.health.report import health_of_mesh

if TYPE_CHECKING:
    from operations.health.now import Now
    from operations.health.problems import Problem

STYLES = {Harm.OUTAGE: "red", Harm.STUCK: "red", Harm.NOTE: "dim"}


def now(*, as_json: JsonFlag = False) -> None:
    """List all problems in order of harm, each with the command that helps. Exit with 0 if there are none."""
    found = asyncio.run(_read())
    if as_json:
        print_json(found.as_json())
    else:
        for problem in found.problems:
            out.print(_line(problem), soft_wrap=True)
        if found.is_calm:
            out.print(found.calm_sentence, style="green", markup=False)
        for name, fact in found.facts().items():
            out.print(Text.assemble((f"{name}: ", "dim"), fact))
    if not found.is_calm:
        raise typer.Exit(1)


async def _read() -> Now:
    settings = operator_settings()
    async with operator_channels(settings) as channels:
        reader = NowReader(settings, channels, partial(health_of_mesh, settings))
        try:
            with untraced():
                return await reader.read()
        finally:
            reader.close()


def _line(problem: Problem) -> Text:
    style = STYLES.get(problem.harm, "yellow")
    line = Text.assemble(
        (problem.harm.name.lower().ljust(8), style), (f"{problem.subject}: ", "bold"), problem.sentence
    )
    if problem.command:
        line.append(f" Next: `{problem.command}`", "dim")
    return line
