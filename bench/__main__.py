"""Complete benchmark: writes build/bench.json, and after a full run docs/performance.md, its plot and README.

Run `python -m bench`. With --quick it takes less time, is less exact, and leaves the documents unchanged.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.cores import load_core, on_core, require_two_cores
from bench.effort import FULL, QUICK, Effort
from bench.h2load import program_path
from bench.machine import describe_machine
from bench.measure import measure, ready_servers
from bench.plot import draw
from bench.profile import PROFILED, shares_of
from bench.report import show, write_page, write_readme
from bench.rows import SAMPLED_PERCENT, all_rows, bare_native
from bench.run import Run, write_json
from bench.server_process import started
from bench.startup import OUTPUT as STARTUP_FIGURES
from bench.steps import steps_of_all
from bench.workspace import prepare
from mesh.config import child_environment

FIGURES = Path("build/bench.json")
PAGE = Path("docs/performance.md")
PLOT = Path("docs/performance.png")
README = Path("README.md")
# Environment of the mesh. This program runs in that of the benchmarks, with the other stacks.
MESH_PYTHON = Path(".venv/bin/python")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m bench")
    parser.add_argument("--quick", action="store_true", help="run in under two minutes, with less exact figures")
    quick = parser.parse_args().quick
    program_path()
    require_two_cores()
    prepare()
    run = measure_everything(QUICK if quick else FULL)
    write_json(run, FIGURES)
    if not quick:
        write_page(run, PAGE)
        write_readme(run, README)
        draw(run.table, PLOT)
    show(run)


def measure_everything(effort: Effort) -> Run:
    """Measure servers, interceptors, the client and the start of a mesh."""
    machine = describe_machine()
    with ExitStack() as stack:
        servers = [stack.enter_context(started(row)) for row in all_rows()]
        # The policies run on the load's core, so the servers have their own core while they start.
        policies = {percent: policy_costs(percent, effort) for percent in SAMPLED_PERCENT}
        ready, omitted = ready_servers(servers)
        table = measure(ready, omitted, effort)
        shares = {}
        for server in ready:
            if effort.profile_s and server.row.name in PROFILED:
                shares[server.row.label] = shares_of(server, effort.profile_s) or {}
    steps = steps_of_all(effort.profile_s) if effort.profile_s else {}
    return Run(machine, table, policies, client_rounds(effort), shares, steps, startup_figures(effort))


def policy_costs(percent: int, effort: Effort) -> dict[str, float]:
    """Return the cost of each interceptor if `percent` of the traces are recorded."""
    costs: dict[str, float] = _run_on_load_core("bench.policies", effort.policy_rounds, effort.policy_calls, percent)
    return costs


def client_rounds(effort: Effort) -> list[dict[str, float]]:
    """Return the client's figures in each round, measured against the fastest server."""
    with started(bare_native()) as server:
        server.wait_until_listening()
        rounds: list[dict[str, float]] = _run_on_load_core(
            "bench.client", server.port, effort.client_rounds, effort.client_window_s
        )
    return rounds


def startup_figures(effort: Effort) -> dict[str, Any]:
    """Return the figures of bench.startup, measured in the environment of the mesh."""
    subprocess.run([MESH_PYTHON, "-m", "bench.startup", f"--starts={effort.starts}"], stdout=sys.stderr, check=True)
    figures: dict[str, Any] = json.loads(STARTUP_FIGURES.read_text(encoding="utf-8"))
    return figures


def _run_on_load_core(module: str, *arguments: float) -> Any:  # noqa: ANN401 - each program prints its own figures
    with on_core(load_core()):
        command = [sys.executable, "-m", module, *map(str, arguments)]
        # gRPC's core would log that the bare server has no health service.
        environment = child_environment(grpc_verbosity="NONE")
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


if __name__ == "__main__":
    main()
