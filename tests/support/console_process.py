"""Console as a process of its own, beside a mesh that already runs."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from local.readiness import answers
from mesh.config import child_environment
from tests.support.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.local_mesh import LocalMesh

TIMEOUT_S = 30.0


class ConsoleProcess:
    """Process of `python -m console` with the settings of `mesh` and others."""

    def __init__(self, mesh: LocalMesh, **settings: object) -> None:
        (port,) = free_ports(1)
        self.address = f"127.0.0.1:{port}"
        self.base = f"http://{self.address}"
        own = {
            "console_address": self.address,
            "keyring_file": mesh.settings.keyring_path,
            "service_api_key_file": mesh.settings.key_path_of("console"),
        }
        environment = child_environment(**{**mesh.settings_by_name, **own, **settings})
        self.process = subprocess.Popen(
            [sys.executable, "-m", "console"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def wait_until_answering(self) -> None:
        """Wait until the console answers; fail with its output if it ends before."""
        give_up_at = time.monotonic() + TIMEOUT_S
        while not answers(self.address):
            assert self.process.poll() is None, self.output()
            assert time.monotonic() < give_up_at
            time.sleep(0.02)

    def output(self) -> str:
        """Return the complete output of the process, which must end by itself or have been stopped."""
        return self.process.communicate(timeout=TIMEOUT_S)[0]

    def stop(self) -> int:
        """Stop the process as Ctrl-C does, and return its exit code."""
        self.process.terminate()
        return self.process.wait(TIMEOUT_S)


@contextmanager
def running_console(mesh: LocalMesh, **settings: object) -> Iterator[ConsoleProcess]:
    """Run a console beside `mesh` while the context is open."""
    console = ConsoleProcess(mesh, **settings)
    try:
        console.wait_until_answering()
        yield console
    finally:
        console.process.kill()
        console.process.communicate()
