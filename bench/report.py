"""Report of a benchmark run: tables on the screen, and sections of the performance page and of README."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table as ScreenTable

from bench.page import fill_section, markdown_table
from bench.run import BASE, CLIENTS
from bench.spread import Spread
from bench.startup import lines_of, summary_of
from bench.targets import MIN_CORE_SHARE, RPS, TARGETS, least_core_share, spreads_of, verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from bench.page import Cells
    from bench.run import Run
    from bench.targets import Target

HEADINGS = ("", "calls/s", "ratio to bare", "quartiles", "p50 ms", "p99 ms", "server CPU µs/call", "refused")
TARGET_HEADINGS = ("", "figure", "bar", "median", "quartiles", "")
CLIENT_HEADINGS = ("", "calls/s", "ratio to plain stub", "quartiles", "client CPU µs/call")
# Parts with a smaller share of the time get no line.
MIN_SHARE = 0.01
SCREEN_WIDTH = 130
MAX_REFUSED_SHARE = 0.01
# README quotes the ratios of these targets.
QUOTED = (
    "grpcio_full_10_vs_bare",
    "native_full_10_vs_bare",
    "native_full_10_vs_fastapi",
    "native_otlp_vs_native_untraced",
    "client_chain_vs_stub",
)


def write_page(run: Run, path: Path) -> None:
    """Replace the sections of the performance page at `path` with the figures of this run."""
    for name, text in _sections(run).items():
        fill_section(path, name, text)


def write_readme(run: Run, path: Path) -> None:
    """Replace the sections of README at `path` with lines of the performance page."""
    quoted = [target for target in TARGETS if target.name in QUOTED]
    headings = ("ratio of calls per second, median and quartiles", "")
    spreads = spreads_of(run.samples)
    fill_section(
        path,
        "summary",
        markdown_table(headings, [(each.description, _in_words(spreads[each.name])) for each in quoted]),
    )
    fill_section(path, "startup", markdown_table(("", "measured"), summary_of(run.startup)))


def _sections(run: Run) -> dict[str, str]:
    return {
        "machine": "\n".join(f"- {heading}: {value}" for heading, value in run.machine.items()),
        "rows": markdown_table(HEADINGS, _row_cells(run)) + _paragraphs(_row_notes(run)),
        "targets": markdown_table(TARGET_HEADINGS, _target_cells(run)),
        "policies": markdown_table(("", *(f"{percent} % traced" for percent in run.policies)), _policy_cells(run)),
        "steps": markdown_table(("", *run.steps), _step_cells(run)),
        "client": markdown_table(CLIENT_HEADINGS, _client_cells(run)) + _paragraphs(_client_notes(run)),
        "shares": markdown_table(("", *run.shares), _share_cells(run)),
        "startup": markdown_table(("", "measured"), lines_of(run.startup)),
    }


def show(run: Run) -> None:
    """Print the machine, the rows, the client's figures and the targets."""
    console = Console(width=SCREEN_WIDTH)
    for heading, value in run.machine.items():
        console.print(f"{heading}: {value}", markup=False, highlight=False)
    for title, headings, rows in (
        ("Servers, each on one core", HEADINGS, _row_cells(run)),
        ("Client", CLIENT_HEADINGS, _client_cells(run)),
        ("Targets", TARGET_HEADINGS, _target_cells(run)),
    ):
        console.print(screen_table(title, headings, rows))
    for note in (*_row_notes(run), *_client_notes(run)):
        console.print(note, markup=False, highlight=False)
    if any(row.refused > MAX_REFUSED_SHARE for row in run.table.rows):
        console.print("Calls were rejected, so the figures are unreliable: stop other programs and run again.")


def screen_table(title: str, headings: Cells, rows: Sequence[Cells]) -> ScreenTable:
    """Return a table for the screen with its first column left-aligned and the others right-aligned."""
    table = ScreenTable(title=title)
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="left" if number == 0 else "right")
    for cells in rows:
        table.add_row(*map(escape, cells))
    return table


def quartiles_in_words(spread: Spread) -> str:
    """Return the quartiles as text."""
    return f"{spread.lower_quartile:.2f} to {spread.upper_quartile:.2f}"


def _in_words(spread: Spread) -> str:
    return f"{spread.median:.2f} ({quartiles_in_words(spread)})"


def _row_cells(run: Run) -> list[Cells]:
    rps = run.samples[RPS]
    spreads = {row.name: Spread.of_ratios(rps[row.name], rps[BASE]) for row in run.table.rows}
    return [
        (
            row.label,
            f"{row.rps:,.0f}",
            f"{spreads[row.name].median:.2f}",
            quartiles_in_words(spreads[row.name]) if row.name != BASE else "",
            f"{row.p50_ms:.2f}",
            f"{row.p99_ms:.2f}",
            f"{row.server_cpu_us:.0f}",
            f"{row.refused:.2%}" if row.refused else "",
        )
        for row in run.table.rows
    ]


def _row_notes(run: Run) -> list[str]:
    labels = {row.name: row.label for row in run.table.rows}
    exported = [f"{row.exported:.1%} ({row.label})" for row in run.table.rows if row.exported is not None]
    return [
        *([f"Spans that reached the collector: {', '.join(exported)}."] if exported else []),
        *_idle_cores(run, labels),
        *(f"Not measured: {reason}." for reason in run.table.omitted.values()),
    ]


def _client_notes(run: Run) -> list[str]:
    return _idle_cores(run, CLIENTS)


def _idle_cores(run: Run, labels: Mapping[str, str]) -> list[str]:
    """Return a sentence about the programs that waited, if any did."""
    shares = run.core_shares
    idle = [f"{label} ({shares[name]:.0%})" for name, label in labels.items() if shares[name] < MIN_CORE_SHARE]
    if not idle:
        return []
    return [f"These programs waited for other ones, and used only this share of their core: {', '.join(idle)}."]


def _paragraphs(notes: Sequence[str]) -> str:
    return "".join(f"\n\n{note}" for note in notes)


def _target_cells(run: Run) -> list[Cells]:
    spreads = spreads_of(run.samples)
    return [
        (
            target.description,
            target.figure if target.base is None else f"ratio of {target.figure}",
            _bar(target),
            f"{spreads[target.name].median:.2f}",
            quartiles_in_words(spreads[target.name]),
            _verdict(run, target, spreads[target.name]),
        )
        for target in TARGETS
    ]


def _verdict(run: Run, target: Target, spread: Spread) -> str:
    share = least_core_share(target, run.core_shares)
    waited = ", with waiting programs" if share is not None and share < MIN_CORE_SHARE else ""
    words = verdict(target, spread)
    return f"{words}{waited}" if words else ""


def _bar(target: Target) -> str:
    if target.minimum is not None:
        return f"at least {target.minimum:.2f}"
    return "" if target.maximum is None else f"at most {target.maximum:.2f}"


def _policy_cells(run: Run) -> list[Cells]:
    costs = list(run.policies.values())
    return [(_policy_label(name), *(f"{each[name]:.1f}" for each in costs)) for name in costs[0]]


def _policy_label(name: str) -> str:
    words = {"none": "no interceptor: parse, handler, serialize", "all": "whole chain, in addition"}
    return words.get(name, f"`{name}`")


def _step_cells(run: Run) -> list[Cells]:
    columns = list(run.steps.values())
    each = [(f"`{name}`", *(f"{steps[name]:.1f}" for steps in columns)) for name in columns[0]]
    return [*each, ("all of them", *(f"{sum(steps.values()):.1f}" for steps in columns))]


def _client_cells(run: Run) -> list[Cells]:
    cells: list[Cells] = []
    stub = run.client_rounds("stub", "rps")
    for name, label in CLIENTS.items():
        rps = run.client_rounds(name, "rps")
        spread = Spread.of_ratios(rps, stub)
        cpu_us = median(run.client_rounds(name, "cpu_us"))
        ratio = (f"{spread.median:.2f}", quartiles_in_words(spread) if name != "stub" else "")
        cells.append((label, f"{median(rps):,.0f}", *ratio, f"{cpu_us:.0f}"))
    return cells


def _share_cells(run: Run) -> list[Cells]:
    largest: dict[str, float] = {}
    for shares in run.shares.values():
        for part, share in shares.items():
            largest[part] = max(share, largest.get(part, 0))
    parts = sorted((part for part in largest if largest[part] >= MIN_SHARE), key=lambda part: -largest[part])
    return [(part, *(f"{shares.get(part, 0):.1%}" for shares in run.shares.values())) for part in parts]
