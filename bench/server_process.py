"""Server process: one row's server, alone on its core, with its answers counted and its processor time read."""

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
from bench.place import FOLDER
from bench.tally import Tally, reset_tally
from mesh.config import child_environment
from tests.support.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bench.rows import Row

START_TIMEOUT_S = 20.0
POLL_INTERVAL_S = 0.02


class RowUnavailable(Exception):
    """A row cannot be measured on this machine; the sentence says why."""


class ServerProcess:
    """A running server of `row` at `port`; `calls` are those it has answered so far."""

    def __init__(self, row: Row, port: int, process: subprocess.Popen[bytes]) -> None:
        self.row = row
        self.port = port
        self._process = process
        self._tally = Tally(row.name)

    @property
    def pid(self) -> int:
        """The process that was started; it may have started others."""
        return self._process.pid

    @property
    def calls(self) -> int:
        """The calls answered so far, as the handler counts them."""
        return self._tally.value

    @property
    def url(self) -> str:
        """Where the row's call is found."""
        return f"http://127.0.0.1:{self.port}{self.row.path}"

    def cpu_s(self) -> float:
        """Return the processor time that all threads of all its processes have used, user and system, in seconds."""
        root = psutil.Process(self.pid)
        times = [each.cpu_times() for each in (root, *root.children(recursive=True))]
        return sum(each.user + each.system for each in times)

    def wait_until_listening(self) -> None:
        """Return as soon as it takes connections; raise RowUnavailable when it does not come to that."""
        ends = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < ends:
            if self._process.poll() is not None:
                raise RowUnavailable(f"{self.row.label} ended at once: {_last_line(error_path(self.row))}")
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(POLL_INTERVAL_S)
            else:
                return
        raise RowUnavailable(f"{self.row.label} took no connection within {START_TIMEOUT_S:.0f} s")


@contextmanager
def started(row: Row) -> Iterator[ServerProcess]:
    """Start the server of `row` on the servers' core, and end it and all it started when the context ends."""
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
            with suppress(ProcessLookupError):  # it has ended by itself
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def log_path(row: Row) -> Path:
    """Return the file that takes the standard output of the row's server: the access log of ours."""
    return FOLDER / f"{row.name}.log"


def error_path(row: Row) -> Path:
    """Return the file that takes what the row's server complains of."""
    return FOLDER / f"{row.name}.err"


def _last_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return lines[-1] if lines else "it gave no reason"
