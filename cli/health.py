"""`solo60 health`: the state of each service and its callees, with reason and remedy if it is not SERVING."""

from __future__ import annotations

import asyncio

import typer
from rich.table import Table

from cli.terminal import JsonFlag, out, print_json, print_table
from mesh.config import load_settings
from mesh.serving.health_probe import SERVING
from operations.health.report import Report, finding_lines, health_of_mesh, mesh_lines, problem_lines

CONTRACT_ONLY_NOTE = "contract only, not implemented"


def health(*, as_json: JsonFlag = False) -> None:
    """Check the health of every service. Exit with 0 only if all are SERVING."""
    settings = load_settings()
    report, mesh = asyncio.run(health_of_mesh(settings))
    if as_json:
        print_json(report)
    else:
        print_table(health_table(report))
        findings = finding_lines(report)
        for line in (*findings, *mesh_lines(mesh, findings)):
            out.print(line, style="red", markup=False, soft_wrap=True)
        for line in problem_lines(report):
            out.print(line, style="yellow", markup=False, soft_wrap=True)
    if any(entry["status"] != SERVING for entry in report.values()):
        raise typer.Exit(1)


def health_table(report: Report) -> Table:
    """Return the report as a table."""
    table = Table("service", "status", "address", "", box=None, pad_edge=False)
    for name, entry in report.items():
        style = "green" if entry["status"] == SERVING else "red"
        note = "" if entry.get("implemented", True) else CONTRACT_ONLY_NOTE
        table.add_row(name, f"[{style}]{entry['status']}[/]", str(entry["address"]), f"[dim]{note}[/]")
    return table
