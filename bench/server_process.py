"""Server process of one row, on its own core, with counters for its calls and processor time."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import psutil

from bench.cores import on_core, server_core
from bench.tally import Tally, reset_tally
from bench.workspace import FOLDER
from mesh.config import child_environment
from tests.support.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bench.rows import Row

START_TIMEOUT_S = 20.0
POLL_INTERVAL_S = 0.02


class RowUnavailable(Exception):
    """Error with the reason why a row cannot be measured on this machine."""


class ServerProcess:
    """Running server of `row` at `port`."""

    def __init__(self, row: Row, port: int, process: subprocess.Popen[bytes]) -> None:
        self.row = row
        self.port = port
        self._process = process
        self._tally = Tally(row.name)

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
        return f"http://127.0.0.1:{self.port}{self.row.path}"

    def cpu_s(self) -> float:
        """Return the user and system time of all processes and threads of the server, in seconds."""
        root = psutil.Process(self.pid)
        times = [each.cpu_times() for each in (root, *root.children(recursive=True))]
        return sum(each.user + each.system for each in times)

    def wait_until_listening(self) -> None:
        """Wait until the server accepts connections; raise RowUnavailable if it exits, or after 20 s."""
        ends = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < ends:
            if self._process.poll() is not None:
                raise RowUnavailable(f"{self.row.label} exited at startup: {_last_line(error_path(self.row))}")
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(POLL_INTERVAL_S)
            else:
                return
        raise RowUnavailable(f"{self.row.label} accepted no connection within {START_TIMEOUT_S:.0f} s")


@contextmanager
def started(row: Row) -> Iterator[ServerProcess]:
    """Start the server of `row` on the servers' core; kill it and its children when the context ends."""
    reset_tally(row.name)
    (port,) = free_ports(1)
    command = [argument.replace("PORT", str(port)) for argument in row.command]
    with log_path(row).open("wb") as log, error_path(row).open("wb") as errors:
        with on_core(server_core()):
            process = subprocess.Popen(
                command,
                env=child_environment(pythonpath=f"{os.getcwd()}:gen"),  # noqa: PTH109 - a search path is text
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=errors,
                start_new_session=True,
            )
        try:
            yield ServerProcess(row, port, process)
        finally:
            with suppress(ProcessLookupError):  # it has already exited
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def log_path(row: Row) -> Path:
    """Return the file for the standard output of the row's server. Ours writes its access log there."""
    return FOLDER / f"{row.name}.log"


def error_path(row: Row) -> Path:
    """Return the file for the standard error of the row's server."""
    return FOLDER / f"{row.name}.err"


def _last_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return lines[-1] if lines else "no error output"
