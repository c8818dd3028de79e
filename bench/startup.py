"""Start-up benchmark: time of `solo60 up` until all services are healthy, and their idle memory.

Run `python -m bench.startup` in the environment of the mesh; `--starts 2` takes less time. Writes build/startup.json:
seconds of each start on an empty and on an existing database, and the memory of each service in MiB, one value for each
start: PSS (its own pages, and its share of the pages that processes share) and RSS.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, TypeAlias

import psutil
from rich.console import Console
from rich.table import Table

from bench.effort import FULL
from contracts.services import SERVICE_NAMES
from mesh.config import child_environment
from tests.support.folders import folder_for_all
from tests.support.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

OUTPUT = Path("build/startup.json")
MIB = 1024 * 1024
# Time for the first runs of the services' background tasks, which load code.
IDLE_S = 3.0
POSTGRES = "postgres"
# Processes of a mesh that are neither a service nor PostgreSQL.
OTHERS = "supervisor and console"

# MiB of each service and of OTHERS, by kind of memory.
Memory: TypeAlias = "dict[str, dict[str, float]]"


def main() -> None:
    """Measure, print a table and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m bench.startup")
    parser.add_argument("--starts", type=int, default=FULL.starts, help="number of meshes (default: %(default)s)")
    figures = measure(parser.parse_args().starts)
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    show(figures)


def measure(starts: int) -> dict[str, dict[str, list[float]]]:
    """Start `starts` new meshes, each twice; return the samples of each figure.

    Memory is measured in the second start, because the first one also creates the databases.
    """
    seconds: dict[str, list[float]] = {"new_database": [], "existing_database": []}
    memory: dict[str, dict[str, list[float]]] = {"pss_mib": {}, "rss_mib": {}}
    for _ in range(starts):
        with folder_for_all() as folder:
            seconds["new_database"].append(measure_start(folder)[0])
            took_s, found = measure_start(folder)
            seconds["existing_database"].append(took_s)
            for kind, by_service in found.items():
                for name, mib in by_service.items():
                    memory[kind].setdefault(name, []).append(mib)
    return {"healthy_s": seconds, **memory}


def measure_start(data_dir: Path) -> tuple[float, Memory]:
    """Start and stop a mesh; return the seconds until it was healthy, and its memory when it is idle."""
    solo60 = Path(sys.executable).with_name("solo60")
    smtp_port, *free = free_ports(1 + len(SERVICE_NAMES))
    ports = dict(zip(SERVICE_NAMES, free, strict=True))
    environment = environment_of_mesh(data_dir, smtp_port, ports)
    began = time.perf_counter()
    with subprocess.Popen([solo60, "up"], env=environment, stdout=subprocess.PIPE, text=True) as up:
        assert up.stdout is not None  # noqa: S101 - the pipe is opened above
        if not any("Ctrl-C" in line for line in up.stdout):
            sys.exit("The mesh did not start. Run `solo60 up` to see the reason.")
        seconds = time.perf_counter() - began
        time.sleep(IDLE_S)
        memory = memory_of(psutil.Process(up.pid), ports)
        up.send_signal(signal.SIGINT)
    return seconds, memory


def environment_of_mesh(data_dir: Path, smtp_port: int, ports: Mapping[str, int]) -> dict[str, str]:
    """Return the environment of a mesh with its services at `ports` and its data in `data_dir`."""
    urls = {f"{name}_service_url": f"127.0.0.1:{port}" for name, port in ports.items()}
    return child_environment(data_dir=data_dir, smtp_url=f"smtp://127.0.0.1:{smtp_port}", **urls)


def memory_of(supervisor: psutil.Process, ports: Mapping[str, int]) -> Memory:
    """Return the memory of each service under the supervisor, and of all other processes except PostgreSQL.

    A service is the process that listens at its port.
    """
    memory: Memory = {"pss_mib": {}, "rss_mib": {}}
    for process in (supervisor, *supervisor.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):  # PostgreSQL's workers come and go
            if process.name() != POSTGRES:
                name, used = _served_by(process, ports), process.memory_full_info()
                for kind, size in (("pss_mib", used.pss), ("rss_mib", used.rss)):
                    memory[kind][name] = memory[kind].get(name, 0) + size / MIB
    return memory


def _served_by(process: psutil.Process, ports: Mapping[str, int]) -> str:
    listens_at = {each.laddr.port for each in process.net_connections("tcp") if each.status == psutil.CONN_LISTEN}
    return next((name for name, port in ports.items() if port in listens_at), OTHERS)


def pss_of_services(figures: Mapping[str, Mapping[str, Sequence[float]]]) -> list[float]:
    """Return the PSS in MiB of every service in every start."""
    return [mib for name, samples in figures["pss_mib"].items() if name != OTHERS for mib in samples]


def lines_of(figures: Mapping[str, Mapping[str, Sequence[float]]]) -> list[tuple[str, str]]:
    """Return the lines of the table: label and measured value."""
    pss = figures["pss_mib"]
    each = [(f"{name}, PSS", f"{median(pss[name]):.0f} MiB") for name in sorted(pss.keys() - {OTHERS})]
    return [*summary_of(figures), *each]


def summary_of(figures: Mapping[str, Mapping[str, Sequence[float]]]) -> list[tuple[str, str]]:
    """Return the lines of the table about all services together."""
    seconds, pss, rss = figures["healthy_s"], figures["pss_mib"], figures["rss_mib"]
    services = pss.keys() - {OTHERS}
    return [
        ("all services healthy, new database", _seconds(seconds["new_database"])),
        ("all services healthy, existing database", _seconds(seconds["existing_database"])),
        ("all idle services together, PSS", f"{sum(median(pss[name]) for name in services):.0f} MiB"),
        ("all idle services together, RSS", f"{sum(median(rss[name]) for name in services):.0f} MiB"),
        (f"{OTHERS}, PSS", f"{median(pss[OTHERS]):.0f} MiB"),
    ]


def _seconds(samples: Sequence[float]) -> str:
    return f"{median(samples):.1f} s ({min(samples):.1f} to {max(samples):.1f})"


def show(figures: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
    """Print the figures as a table."""
    table = Table(title=f"{os.cpu_count()} cores, Python {sys.version.split()[0]}")
    table.add_column("figure")
    table.add_column("measured", justify="right")
    for line in lines_of(figures):
        table.add_row(*line)
    Console().print(table)


if __name__ == "__main__":
    main()
