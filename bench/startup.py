"""Start-up benchmark: time of `solo60 up` until all services are healthy, and their idle memory.

Writes build/startup.json: seconds for each run on an empty and on an existing database, and resident MiB per service.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from contracts.services import SERVICE_NAMES
from mesh.config import child_environment
from tests.support.folders import folder_for_all
from tests.support.ports import free_ports

RUNS = 3
OUTPUT = Path("build/startup.json")
MIB = 1024 * 1024


def main() -> None:
    """Measure, print a table and write the file."""
    empty_s: list[float] = []
    existing_s: list[float] = []
    memory_mib: dict[str, float] = {}
    for _ in range(RUNS):
        with folder_for_all() as folder:
            empty_s.append(measure_start(folder)[0])
            seconds, memory_mib = measure_start(folder)
            existing_s.append(seconds)
    figures = {"empty_database_s": empty_s, "existing_database_s": existing_s, "resident_mib": memory_mib}
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    show(empty_s, existing_s, memory_mib)


def measure_start(data_dir: Path) -> tuple[float, dict[str, float]]:
    """Start and stop a mesh; return the seconds until it was healthy, and each service's resident MiB when idle."""
    solo60 = Path(sys.executable).with_name("solo60")
    began = time.perf_counter()
    with subprocess.Popen([solo60, "up"], env=environment_of_mesh(data_dir), stdout=subprocess.PIPE, text=True) as up:
        assert up.stdout is not None  # noqa: S101 - the pipe is opened above
        if not any("Ctrl-C" in line for line in up.stdout):
            sys.exit("The mesh did not start. Run `solo60 up` to see the reason.")
        seconds = time.perf_counter() - began
        memory = resident_mib(up.pid)
        up.send_signal(signal.SIGINT)
    return seconds, memory


def environment_of_mesh(data_dir: Path) -> dict[str, str]:
    """Return the environment of a mesh on free ports with its data in `data_dir`."""
    smtp_port, *ports = free_ports(1 + len(SERVICE_NAMES))
    urls = {f"{name}_service_url": f"127.0.0.1:{port}" for name, port in zip(SERVICE_NAMES, ports, strict=True)}
    return child_environment(data_dir=data_dir, smtp_url=f"smtp://127.0.0.1:{smtp_port}", **urls)


def resident_mib(supervisor_pid: int) -> dict[str, float]:
    """Return the resident MiB of each service process under the supervisor."""
    memory = {}
    for process in psutil.Process(supervisor_pid).children(recursive=True):
        module = next((part for part in process.cmdline() if part.startswith("services.")), None)
        if module is not None:
            memory[module.removeprefix("services.")] = process.memory_info().rss / MIB
    return memory


def show(empty_s: list[float], existing_s: list[float], memory_mib: dict[str, float]) -> None:
    """Print the figures as a table."""
    table = Table(title=f"{os.cpu_count()} cores, Python {sys.version.split()[0]}")
    table.add_column("figure")
    table.add_column("measured", justify="right")
    table.add_row("all healthy, empty database", " ".join(f"{seconds:.2f} s" for seconds in empty_s))
    table.add_row("all healthy, existing database", " ".join(f"{seconds:.2f} s" for seconds in existing_s))
    for name, mib in sorted(memory_mib.items()):
        table.add_row(f"resident, {name}", f"{mib:.0f} MiB")
    table.add_row("resident, all service processes", f"{sum(memory_mib.values()):.0f} MiB")
    Console().print(table)


if __name__ == "__main__":
    main()
