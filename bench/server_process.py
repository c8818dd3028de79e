"""Server process of one row, on its own core, with counters for its calls, spans and processor time."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from bench.cores import load_core, server_core
from bench.programs import HOST, POLL_INTERVAL_S, NotListening, running, wait_until_listening
from bench.tally import Tally, reset_tally
from tests.support.ports import free_ports

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from bench.rows import Row

# Longer than the interval at which an exporter sends a batch that is not full.
EXPORT_TIMEOUT_S = 8.0


class RowUnavailable(Exception):
    """Error with the reason why a row cannot be measured on this machine."""


class ServerProcess:
    """Running server of `row` at `port`. `spans` counts the spans at its collector, if it has one."""

    def __init__(self, row: Row, port: int, process: subprocess.Popen[bytes], spans: Tally | None) -> None:
        self.row = row
        self.port = port
        self._process = process
        self._tally = Tally(row.name)
        self._spans = spans

    @property
    def pid(self) -> int:
        """Id of the started process, which may have child processes."""
        return self._process.pid

    @property
    def calls(self) -> int:
        """Number of calls answered so far, as counted by the handler."""
        return self._tally.value

    @property
    def url(self) -> str:
        """URL of the row's method."""
        return f"http://{HOST}:{self.port}{self.row.path}"

    def cpu_s(self) -> float:
        """Return the user and system time of all processes and threads of the server, in seconds."""
        root = psutil.Process(self.pid)
        times = [each.cpu_times() for each in (root, *root.children(recursive=True))]
        return sum(each.user + each.system for each in times)

    def wait_until_listening(self) -> None:
        """Wait until the server accepts connections; raise RowUnavailable if it exits, or after 20 s."""
        try:
            wait_until_listening(self.row.name, self._process, self.port)
        except NotListening as error:
            raise RowUnavailable(f"{self.row.label} {error}") from None

    def exported_share(self) -> float | None:
        """Wait for the last spans; return the share of calls with a span at the collector, or None if it has none."""
        if self._spans is None or self.calls == 0:
            return None
        ends = time.monotonic() + EXPORT_TIMEOUT_S
        while self._spans.value < self.calls and time.monotonic() < ends:
            time.sleep(POLL_INTERVAL_S)
        return min(1.0, self._spans.value / self.calls)


@contextmanager
def started(row: Row) -> Iterator[ServerProcess]:
    """Start the server of `row` on the servers' core; kill it and its children when the context ends.

    Its collector, if it exports spans, runs on the load's core.
    """
    reset_tally(row.name)
    (port,) = free_ports(1)
    command = [argument.replace("PORT", str(port)) for argument in row.command]
    with ExitStack() as stack:
        endpoint, spans = stack.enter_context(_collecting(row.name)) if row.exports_spans else (None, None)
        process = stack.enter_context(
            running(
                row.name,
                command,
                server_core(),
                row.folder,
                otel_traces_exporter="none" if endpoint is None else "otlp",
                otel_exporter_otlp_endpoint=endpoint,
            )
        )
        yield ServerProcess(row, port, process, spans)


@contextmanager
def _collecting(row_name: str) -> Iterator[tuple[str, Tally]]:
    """Run a collector for the spans of one row; yield its endpoint and its counter of spans."""
    name = f"{row_name}_spans"
    reset_tally(name)
    (port,) = free_ports(1)
    command = (sys.executable, "-m", "bench.servers.collector", name, str(port))
    with running(name, command, load_core(), Path.cwd()) as process:
        wait_until_listening(name, process, port)
        yield f"http://{HOST}:{port}", Tally(name)
