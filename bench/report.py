"""Report of a benchmark run: JSON file, table on the screen, and sections of the performance page."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table as ScreenTable

from bench.page import fill_section, markdown_table
from bench.targets import TARGETS, ratios_of, verdict

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bench.measure import Table
    from bench.page import Cells

BASE = "bare_aio"
HEADINGS = ("", "calls/s", "ratio to bare", "p50 ms", "p99 ms", "server CPU µs/call", "refused")
# Parts with a smaller share of the time get no line.
MIN_SHARE = 0.01
SCREEN_WIDTH = 120
MAX_REFUSED_SHARE = 0.01


@dataclass(frozen=True, slots=True)
class Run:
    """All figures of one run.

    `policies` has microseconds per interceptor, by percentage of traced calls. `client` has the figures of
    bench.client. `shares` has the shares of processor time of each profiled server.
    """

    machine: Mapping[str, str]
    table: Table
    policies: Mapping[int, Mapping[str, float]]
    client: Mapping[str, float]
    shares: Mapping[str, Mapping[str, float]]

    @property
    def ratios(self) -> dict[str, float]:
        """Ratios that the targets refer to."""
        return ratios_of(self.table.rows, self.client)


def write_json(run: Run, path: Path) -> None:
    """Write the figures to `path` as JSON."""
    figures = {
        "rows": [asdict(row) for row in run.table.rows],
        "ratios": run.ratios,
        "policies_us": run.policies,
        "client": run.client,
        "cpu_shares": run.shares,
        "omitted": run.table.omitted,
        "machine": run.machine,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_page(run: Run, path: Path) -> None:
    """Replace the sections of the page at `path` with the figures of this run."""
    for name, text in _sections(run).items():
        fill_section(path, name, text)


def _sections(run: Run) -> dict[str, str]:
    return {
        "machine": "\n".join(f"- {heading}: {value}" for heading, value in run.machine.items()),
        "rows": markdown_table(HEADINGS, _row_cells(run)) + _omitted(run),
        "targets": markdown_table(("ratio of calls per second", "at least", "measured", ""), _target_cells(run)),
        "policies": markdown_table(("", *(f"{percent} % traced" for percent in run.policies)), _policy_cells(run)),
        "client": markdown_table(("", "calls/s", "client CPU µs/call"), _client_cells(run)),
        "shares": markdown_table(("", *run.shares), _share_cells(run)),
    }


def show(run: Run) -> None:
    """Print the rows, the client's figures and the targets."""
    console = Console(width=SCREEN_WIDTH)
    for title, headings, rows in (
        ("Servers, each on one core", HEADINGS, _row_cells(run)),
        ("Client", ("", "calls/s", "client CPU µs/call"), _client_cells(run)),
        ("Targets", ("ratio of calls per second", "at least", "measured", ""), _target_cells(run)),
    ):
        table = ScreenTable(title=title)
        for number, heading in enumerate(headings):
            table.add_column(heading, justify="left" if number == 0 else "right")
        for cells in rows:
            table.add_row(*map(escape, cells))
        console.print(table)
    if any(row.refused > MAX_REFUSED_SHARE for row in run.table.rows):
        console.print("Calls were rejected, so the figures are unreliable: stop other programs and run again.")
    for reason in run.table.omitted.values():
        console.print(f"not measured: {reason}", markup=False)


def _row_cells(run: Run) -> list[Cells]:
    base_rps = next(row.rps for row in run.table.rows if row.name == BASE)
    return [
        (
            row.label,
            f"{row.rps:,.0f}",
            f"{row.rps / base_rps:.2f}",
            f"{row.p50_ms:.2f}",
            f"{row.p99_ms:.2f}",
            f"{row.server_cpu_us:.0f}",
            f"{row.refused:.2%}" if row.refused else "",
        )
        for row in run.table.rows
    ]


def _omitted(run: Run) -> str:
    return "".join(f"\n\nNot measured: {reason}." for reason in run.table.omitted.values())


def _target_cells(run: Run) -> list[Cells]:
    ratios = run.ratios
    return [
        (
            target.description,
            f"{target.minimum:.2f}",
            f"{ratios[target.name]:.2f}",
            verdict(target, ratios[target.name]),
        )
        for target in TARGETS
    ]


def _policy_cells(run: Run) -> list[Cells]:
    costs = list(run.policies.values())
    return [(_policy_label(name), *(f"{each[name]:.1f}" for each in costs)) for name in costs[0]]


def _policy_label(name: str) -> str:
    words = {"none": "no interceptor: parse, handler, serialize", "all": "whole chain, in addition"}
    return words.get(name, f"`{name}`")


def _client_cells(run: Run) -> list[Cells]:
    labels = {"stub": "plain stub", "chain": "whole client chain, 10 % traced"}
    return [
        (label, f"{run.client[f'{name}_rps']:,.0f}", f"{run.client[f'{name}_cpu_us']:.0f}")
        for name, label in labels.items()
    ]


def _share_cells(run: Run) -> list[Cells]:
    largest: dict[str, float] = {}
    for shares in run.shares.values():
        for part, share in shares.items():
            largest[part] = max(share, largest.get(part, 0))
    parts = sorted((part for part in largest if largest[part] >= MIN_SHARE), key=lambda part: -largest[part])
    return [(part, *(f"{shares.get(part, 0):.1%}" for shares in run.shares.values())) for part in parts]
