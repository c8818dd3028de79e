"""Comparison of two commits: servers and clients of both, measured in turn in one run.

Run `python -m bench.compare BASE`; with --quick it takes less time and is less exact. Each server runs its own commit's
`bench.servers.ours`; this commit's driver measures all of them. Prints the ratios of this commit to the other one, and
writes build/bench-compare.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from rich.console import Console

from bench.cores import load_core, on_core, require_two_cores
from bench.effort import FULL, QUICK
from bench.h2load import program_path
from bench.machine import describe_machine
from bench.measure import measure_rounds, ready_servers, samples_of
from bench.other_commit import UnusableCommit, check_out
from bench.programs import environment_in
from bench.report import SCREEN_WIDTH, quartiles_in_words, screen_table
from bench.rows import bare_native, our_rows
from bench.server_process import started
from bench.spread import Spread
from bench.targets import CPU, RPS
from bench.workspace import prepare

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bench.effort import Effort
    from bench.other_commit import OtherCommit
    from bench.rows import Row
    from bench.targets import Samples

FIGURES = Path("build/bench-compare.json")
OTHER = "base_"
HEADINGS = ("new / base", "base calls/s", "new calls/s", "ratio", "quartiles", "ratio of CPU/call", "quartiles")
CLIENT_LABELS = {"stub": "plain stub", "chain": "client chain, 10 % traced"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m bench.compare")
    parser.add_argument("base", help="the other commit: a branch, a tag or a hash")
    parser.add_argument("--quick", action="store_true", help="shorter windows, with less exact figures")
    options = parser.parse_args()
    program_path()
    require_two_cores()
    prepare()
    try:
        other = check_out(options.base)
    except UnusableCommit as error:
        sys.exit(str(error))
    compare(options.base, other, QUICK if options.quick else FULL)


def compare(base: str, other: OtherCommit, effort: Effort) -> None:
    """Measure both commits, print the ratios and write the file."""
    machine = describe_machine()
    rows = our_rows()
    samples, omitted = measure_servers(rows, other, effort)
    labels = {row.name: row.label for row in rows if row.name in samples[RPS]} | CLIENT_LABELS
    clients = samples_of_clients(measure_clients(other, effort))
    samples = {figure: {**samples[figure], **clients[figure]} for figure in (RPS, CPU)}
    ratios = {name: ratios_of(name, samples) for name in labels}
    figures = {
        "base": base,
        "base_commit": other.sha,
        "machine": machine,
        "rounds": {name: len(samples[RPS][name]) for name in labels},
        "ratios": {name: {figure: asdict(each) for figure, each in found.items()} for name, found in ratios.items()},
        "samples": samples,
        "omitted": omitted,
    }
    FIGURES.write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    show(f"This commit to {base} ({other.sha[:12]})", labels, samples, ratios)
    for reason in omitted.values():
        print(f"Not compared: {reason}.")


def measure_servers(rows: Sequence[Row], other: OtherCommit, effort: Effort) -> tuple[Samples, dict[str, str]]:
    """Return the samples of both commits' servers, and the reason for each pair that could not be measured."""
    with ExitStack() as stack:
        both = [stack.enter_context(started(row)) for pair in rows for row in (pair, row_of(other, pair))]
        ready, omitted = ready_servers(both)
        names = {server.row.name for server in ready}
        pairs = {row.name for row in rows if {row.name, OTHER + row.name} <= names}
        paired = [server for server in ready if server.row.name.removeprefix(OTHER) in pairs]
        return samples_of(measure_rounds(paired, effort)), omitted


def row_of(other: OtherCommit, row: Row) -> Row:
    """Return the same row with the server of the other commit."""
    name = OTHER + row.name
    _ours, *arguments = (name if part == row.name else part for part in row.command)
    command = (str(other.python), *arguments)
    return replace(row, name=name, label=f"{row.label}, at {other.sha[:12]}", command=command, folder=other.folder)


def measure_clients(other: OtherCommit, effort: Effort) -> list[tuple[dict[str, float], dict[str, float]]]:
    """Return the figures of this commit's client and of the other one's in each round."""
    with started(bare_native()) as server:
        server.wait_until_listening()
        here = (Path(sys.executable), Path.cwd())
        there = (other.python, other.folder)
        rounds = []
        for number in range(effort.client_rounds):
            order = (here, there) if number % 2 == 0 else (there, here)
            figures = [_client_round(*each, server.port, effort.client_window_s) for each in order]
            rounds.append((figures[0], figures[1]) if number % 2 == 0 else (figures[1], figures[0]))
        return rounds


def _client_round(python: Path, folder: Path, port: int, seconds: float) -> dict[str, float]:
    """Return the figures of one commit's client. An older commit prints an object instead of a list of rounds."""
    with on_core(load_core()):
        done = subprocess.run(
            [python, "-m", "bench.client", str(port), "1", str(seconds)],
            cwd=folder,
            env=environment_in(folder, grpc_verbosity="NONE"),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    found: Any = json.loads(done.stdout)
    figures: dict[str, float] = found[0] if isinstance(found, list) else found
    return figures


def samples_of_clients(rounds: Sequence[tuple[Mapping[str, float], Mapping[str, float]]]) -> Samples:
    """Return the samples of the clients that both commits have."""
    return {
        figure: {
            prefix + name: [each[commit][f"{name}_{key}"] for each in rounds]
            for commit, prefix in enumerate(("", OTHER))
            for name in CLIENT_LABELS
        }
        for figure, key in ((RPS, "rps"), (CPU, "cpu_us"))
    }


def ratios_of(name: str, samples: Samples) -> dict[str, Spread]:
    """Return, for each figure of a row, the spread of the ratios of this commit to the other one."""
    return {figure: Spread.of_ratios(found[name], found[OTHER + name]) for figure, found in samples.items()}


def show(title: str, labels: Mapping[str, str], samples: Samples, ratios: Mapping[str, Mapping[str, Spread]]) -> None:
    """Print the ratios."""
    cells = [(label, *_cells(name, samples, ratios[name])) for name, label in labels.items()]
    Console(width=SCREEN_WIDTH).print(screen_table(title, HEADINGS, cells))


def _cells(name: str, samples: Samples, ratios: Mapping[str, Spread]) -> Iterator[str]:
    for each in (OTHER + name, name):
        yield f"{median(samples[RPS][each]):,.0f}"
    for figure in (RPS, CPU):
        yield f"{ratios[figure].median:.2f}"
        yield quartiles_in_words(ratios[figure])


if __name__ == "__main__":
    main()
