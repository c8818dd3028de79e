"""Bar chart of the calls per second of every row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from bench.run import BASE
from bench.spread import Spread
from bench.targets import RPS

if TYPE_CHECKING:
    from pathlib import Path

    from bench.measure import Figures, Table

OURS, BARE, OTHERS = "#1f6feb", "#8b949e", "#d29922"
SIZE_INCHES = (10, 6)
DOTS_PER_INCH = 130


def draw(table: Table, path: Path) -> None:
    """Write the bar chart of the rows to `path` as a PNG, with each row's ratio to bare grpc.aio."""
    rows, rps = table.rows, table.samples[RPS]
    ratios = {row.name: Spread.of_ratios(rps[row.name], rps[BASE]).median for row in rows}
    figure = Figure(figsize=SIZE_INCHES, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    bars = axes.barh([row.label for row in rows], [row.rps for row in rows], color=[_colour(row) for row in rows])
    axes.bar_label(bars, [f" {row.rps:,.0f}  ({ratios[row.name]:.2f} times)" for row in rows], fontsize=9)
    axes.invert_yaxis()
    axes.margins(x=0.22)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("calls answered per second on one core, and their ratio to bare grpc.aio")
    axes.legend(
        handles=[Patch(color=colour) for colour in (OURS, BARE, OTHERS)],
        labels=["this mesh, whole chain", "no policy at all", "other stacks"],
        loc="lower right",
        frameon=False,
    )
    figure.savefig(path, dpi=DOTS_PER_INCH)


def _colour(row: Figures) -> str:
    if row.name.startswith("bare"):
        return BARE
    return OURS if row.name.startswith(("grpcio", "native")) else OTHERS
