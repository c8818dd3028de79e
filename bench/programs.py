"""Programs that run beside the driver, each on one core, in a folder with the sources of a commit."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from bench.cores import on_core
from bench.workspace import FOLDER
from mesh.config import child_environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

HOST = "127.0.0.1"
START_TIMEOUT_S = 20.0
POLL_INTERVAL_S = 0.02


class NotListening(Exception):
    """Error with the reason why a program accepts no connections."""


@contextmanager
def running(
    name: str, command: Sequence[str], core: int, folder: Path, **settings: object
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `command` on `core` with the sources in `folder`; kill it and its children when the context ends.

    Its standard output and standard error are written to files named `name`. `settings` are settings of the mesh.
    """
    with log_path(name).open("wb") as log, error_path(name).open("wb") as errors:
        with on_core(core):
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment_in(folder, **settings),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=errors,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):  # it has already exited
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def environment_in(folder: Path, **settings: object) -> dict[str, str]:
    """Return the environment of a program with the sources in `folder`, with `settings` of the mesh."""
    return child_environment(pythonpath=f"{folder}{os.pathsep}{folder / 'gen'}", **settings)


def wait_until_listening(name: str, process: subprocess.Popen[bytes], port: int) -> None:
    """Wait until a program accepts connections; raise NotListening if it exits, or after 20 s."""
    ends = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < ends:
        if process.poll() is not None:
            raise NotListening(f"exited at startup: {_last_line(error_path(name))}")
        try:
            socket.create_connection((HOST, port), timeout=1).close()
        except OSError:
            time.sleep(POLL_INTERVAL_S)
        else:
            return
    raise NotListening(f"accepted no connection within {START_TIMEOUT_S:.0f} s")


def log_path(name: str) -> Path:
    """Return the file for the standard output of a program. Our servers write their access log there."""
    return FOLDER / f"{name}.log"


def error_path(name: str) -> Path:
    """Return the file for the standard error of a program."""
    return FOLDER / f"{name}.err"


def _last_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return lines[-1] if lines else "no error output"
