"""Scale benchmark: latencies on a nearly empty database and on one with a million sessions of 200,000 users.

Run `python -m bench.scale`; --quick fills less and measures less. Two meshes run at once and are called in turn, so
that other work on the machine affects both alike. Writes build/scale.json and, after a full run, the section "scale" of
docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from bench.page import fill_section, markdown_table
from bench.scale.population import Population
from bench.scale.running import filled_server, running_mesh
from mesh.serving.event_loop import service_loop
from tests.support.folders import folder_for_all

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bench.scale.reads import Read
    from bench.scale.running import RunningMesh

SMALL = Population(users=2_100, gyms=5, slots=2000)
LARGE = Population(users=200_000, gyms=500, slots=2000)
QUICK = Population(users=20_000, gyms=50, slots=2000)
ROUNDS, QUICK_ROUNDS = 200, 40
# The first calls prepare statements, and PostgreSQL changes to generic plans after five calls.
WARM_UP = 10
# A call of the large database may take this much longer.
LIMIT = 1.5
FIGURES = Path("build/scale.json")
PAGE = Path("docs/performance.md")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m bench.scale")
    parser.add_argument("--quick", action="store_true", help="fewer rows and calls; docs/performance.md is not changed")
    parser.add_argument(
        "--rounds", type=int, default=ROUNDS, help="measured calls of each method (default: %(default)s)"
    )
    options = parser.parse_args()
    quick, rounds = options.quick, min(options.rounds, QUICK_ROUNDS) if options.quick else options.rounds
    with folder_for_all() as folder, service_loop() as runner:
        figures = runner.run(measure(folder, QUICK if quick else LARGE, rounds))
    FIGURES.parent.mkdir(exist_ok=True)
    FIGURES.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    table = _table(figures)
    if not quick:
        fill_section(PAGE, "scale", f"{table}\n\nMedians of {rounds} calls.")
    print(table)


async def measure(folder: Path, large: Population, rounds: int) -> dict[str, tuple[float, float]]:
    """Return the median milliseconds of each call on the small and on the large database."""
    for name in ("small", "large"):
        (folder / name).mkdir(mode=0o755)
    async with (
        filled_server(folder / "small", SMALL) as small_server,
        filled_server(folder / "large", large) as large_server,
        running_mesh(folder / "small", small_server.url, SMALL) as small_mesh,
        running_mesh(folder / "large", large_server.url, large) as large_mesh,
    ):
        print({name: f"{size / 2**20:.0f} MiB" for name, size in large_mesh.sizes.items()})
        meshes = small_mesh, large_mesh
        found = {name: await _compare(meshes, name, rounds) for name in small_mesh.reads}
        for number in range(WARM_UP + rounds):
            for mesh in meshes[:: 1 - number % 2 * 2]:
                await mesh.journeys.make(number)
        for name in small_mesh.journeys.durations_s:
            small, big = (_median_ms(mesh.journeys.durations_s[name][WARM_UP:]) for mesh in meshes)
            found[name] = small, big
    return dict(sorted(found.items()))


async def _compare(meshes: tuple[RunningMesh, RunningMesh], name: str, rounds: int) -> tuple[float, float]:
    durations_s: tuple[list[float], list[float]] = [], []
    for number in range(WARM_UP + rounds):
        pairs = list(zip(meshes, durations_s, strict=True))
        for mesh, durations in pairs[:: 1 - number % 2 * 2]:
            durations.append(await _timed(mesh.reads[name]))
    small, large = (_median_ms(each[WARM_UP:]) for each in durations_s)
    return small, large


async def _timed(read: Read) -> float:
    began = time.perf_counter()
    await read()
    return time.perf_counter() - began


def _median_ms(durations_s: list[float]) -> float:
    return 1000 * median(durations_s)


def _table(figures: Mapping[str, tuple[float, float]]) -> str:
    def rows() -> Iterator[tuple[str, ...]]:
        for name, (small, large) in figures.items():
            ratio = large / small
            yield name, f"{small:.2f}", f"{large:.2f}", f"{ratio:.2f}{' (above the limit)' if ratio > LIMIT else ''}"

    return markdown_table(("", "nearly empty, ms", "large, ms", "ratio"), rows())


if __name__ == "__main__":
    main()
