"""Complete benchmark: writes build/bench.json, and after a full run docs/performance.md and its plot.

Run `python -m bench`. With --quick it takes less time, is less exact, and leaves the page unchanged.
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
from bench.measure import Table, measure, ready_servers
from bench.plot import draw
from bench.profile import PROFILED, shares_of
from bench.report import Run, show, write_json, write_page
from bench.rows import SAMPLED_PERCENT, all_rows, bare_native
from bench.server_process import started
from bench.workspace import prepare
from mesh.config import child_environment

FIGURES = Path("build/bench.json")
PAGE = Path("docs/performance.md")
PLOT = Path("docs/performance.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m bench")
    parser.add_argument("--quick", action="store_true", help="run in under 50 seconds, with less exact figures")
    quick = parser.parse_args().quick
    program_path()
    require_two_cores()
    prepare()
    run = measure_everything(QUICK if quick else FULL)
    write_json(run, FIGURES)
    if not quick:
        write_page(run, PAGE)
        draw(run.table.rows, PLOT)
    show(run)


def measure_everything(effort: Effort) -> Run:
    """Measure servers, interceptors and the client."""
    machine = describe_machine()
    with ExitStack() as stack:
        servers = [stack.enter_context(started(row)) for row in all_rows()]
        # The policies run on the load's core, so the servers have their own core while they start.
        policies = {percent: policy_costs(percent, effort) for percent in SAMPLED_PERCENT}
        ready, omitted = ready_servers(servers)
        table = Table(measure(ready, effort), omitted)
        shares = {}
        for server in ready:
            if effort.profile_s and server.row.name in PROFILED:
                shares[server.row.label] = shares_of(server, effort.profile_s) or {}
    return Run(machine, table, policies, client_figures(effort), shares)


def policy_costs(percent: int, effort: Effort) -> dict[str, float]:
    """Return the cost of each interceptor if `percent` of the traces are recorded."""
    return _run_on_load_core("bench.policies", effort.policy_rounds, effort.policy_calls, percent)


def client_figures(effort: Effort) -> dict[str, float]:
    """Return the client's figures, measured against the fastest server."""
    with started(bare_native()) as server:
        server.wait_until_listening()
        return _run_on_load_core("bench.client", server.port, effort.client_rounds, effort.client_window_s)


def _run_on_load_core(module: str, *arguments: float) -> dict[str, Any]:
    with on_core(load_core()):
        command = [sys.executable, "-m", module, *map(str, arguments)]
        # gRPC's core would log that the bare server has no health service.
        environment = child_environment(grpc_verbosity="NONE")
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


if __name__ == "__main__":
    main()
