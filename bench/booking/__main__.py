"""Booking benchmark: a booking over five services, in the mesh on both engines and in a plain FastAPI version.

Run `python -m bench.booking`; --quick takes less time. All parts share the machine's cores: services, PostgreSQL, the
mail sink and the load. Writes build/booking.json and, after a full run, the booking section of docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.booking.window import PLAIN, Figures
from bench.page import fill_section, markdown_table
from mesh.config import child_environment

if TYPE_CHECKING:
    from collections.abc import Mapping

FIGURES = Path("build/booking.json")
PAGE = Path("docs/performance.md")
STACKS = {PLAIN: "plain FastAPI and httpx", "grpcio": "mesh on grpcio", "native": "mesh on native"}
HEADINGS = ("", "bookings/s", "ratio to plain", "p50 ms", "p99 ms", "bookings/s with mails", "CPU ms/booking")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m bench.booking")
    parser.add_argument("--quick", action="store_true", help="one short window per stack, with less exact figures")
    quick = parser.parse_args().quick
    rounds, bookings = (1, 600) if quick else (3, 1500)
    windows: dict[str, list[dict[str, Any]]] = {name: [] for name in STACKS}
    for _ in range(rounds):
        for name, found in windows.items():
            found.append(_window(name, bookings))
    FIGURES.parent.mkdir(exist_ok=True)
    FIGURES.write_text(json.dumps(windows, indent=2) + "\n", encoding="utf-8")
    figures = {STACKS[name]: _median_of(found) for name, found in windows.items()}
    tables = f"{_speeds(figures)}\n\n{_costs(figures)}"
    if not quick:
        fill_section(PAGE, "booking", tables)
    print(tables)


def _window(name: str, bookings: int) -> dict[str, Any]:
    """Measure one stack in a process of its own."""
    command = [sys.executable, "-m", "bench.booking.window", name, str(bookings)]
    # A process that starts others after its first call makes gRPC's core log about the fork.
    environment = child_environment(grpc_verbosity="NONE")
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def _median_of(windows: list[dict[str, Any]]) -> Figures:
    """Return the window with the median of `mailed_per_s`."""
    return Figures(**sorted(windows, key=lambda each: each["mailed_per_s"])[len(windows) // 2])


def _speeds(figures: Mapping[str, Figures]) -> str:
    plain = next(iter(figures.values()))
    rows = (
        (
            label,
            f"{each.bookings_per_s:.0f}",
            f"{each.bookings_per_s / plain.bookings_per_s:.2f}",
            f"{each.p50_ms:.0f}",
            f"{each.p99_ms:.0f}",
            f"{each.mailed_per_s:.0f}",
            f"{sum(each.cpu_ms.values()):.1f}",
        )
        for label, each in figures.items()
    )
    return markdown_table(HEADINGS, rows)


def _costs(figures: Mapping[str, Figures]) -> str:
    parts = list(next(iter(figures.values())).cpu_ms)
    rows = ((part, *(f"{each.cpu_ms[part]:.2f}" for each in figures.values())) for part in parts)
    return markdown_table(("CPU ms/booking", *figures), rows)


if __name__ == "__main__":
    main()
