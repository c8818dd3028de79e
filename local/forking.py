"""Start of the services as forked processes, which share the memory of the code that one process imported.

See docs/adr/0037-processes-of-a-local-mesh.md.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import socket
import sys
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

from contracts.services import SERVICE_NAMES
from local.child import Child
from local.fork_server import READY
from local.processes import spawn
from mesh.failure import Failure

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
    from pathlib import Path

    from local.processes import Streams
    from mesh.config import Settings

PROGRAM = "local.fork_server"
NAME = "fork_server"
PR_SET_CHILD_SUBREAPER = 36
# Longest times until all modules are imported, and until one process is forked.
READY_TIMEOUT_S = 30.0
FORK_TIMEOUT_S = 5.0
# Longest time until the server exits by itself.
EXIT_TIMEOUT_S = 2.0
MAX_ANSWER_BYTES = 64


class CannotFork(Failure):
    """Failure of the fork server; the message gives the reason. The processes can be started by themselves."""


class ForkedProcess:
    """Child process that was forked by a fork server."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._exit_code: int | None = None

    def poll(self) -> int | None:
        """Return the exit code (minus the signal's number if a signal killed the process), or None while it runs."""
        if self._exit_code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._exit_code = os.waitstatus_to_exitcode(status)
        return self._exit_code

    def terminate(self) -> None:
        """Send SIGTERM, unless the process has ended."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL, unless the process has ended."""
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


class ForkServer:
    """Running fork server: forks one process for each call of `fork`."""

    def __init__(self, connection: socket.socket, child: Child) -> None:
        self._connection = connection
        self._child = child

    async def load(self, modules: Sequence[str]) -> None:
        """Return when all modules are imported; raise CannotFork if the server fails or takes too long."""
        self._connection.settimeout(0)
        try:
            self._connection.send(json.dumps(modules).encode())
            receiving = asyncio.get_running_loop().sock_recv(self._connection, MAX_ANSWER_BYTES)
            answer = await asyncio.wait_for(receiving, READY_TIMEOUT_S)
        except (TimeoutError, OSError):
            answer = b""
        if answer != READY:
            await self.stop()
            raise self._failure()
        self._connection.settimeout(FORK_TIMEOUT_S)

    async def stop(self) -> None:
        """Close the connection, so that the server exits; kill a server that does not exit in time."""
        self._connection.close()
        try:
            await asyncio.wait_for(self._child.wait(), EXIT_TIMEOUT_S)
        except TimeoutError:
            self._child.kill()
            await self._child.wait()

    def fork(self, program: Sequence[str], environment: Mapping[str, str], streams: Streams) -> ForkedProcess:
        """Fork a process that runs a module with its arguments; raise CannotFork if the server fails."""
        request = json.dumps([program, dict(environment)]).encode()
        try:
            socket.send_fds(self._connection, [request], [streams.standard_input, streams.output, streams.log])
            pid = self._connection.recv(MAX_ANSWER_BYTES)
        except OSError:
            pid = b""
        if not pid:
            raise self._failure()
        return ForkedProcess(int(pid))

    def _failure(self) -> CannotFork:
        return CannotFork(f"the fork server failed: {self._child.last_output()}.")


@asynccontextmanager
async def fork_server(
    modules: Sequence[str], environment: Mapping[str, str], log: Path, inherited: Sequence[int]
) -> AsyncIterator[ForkServer]:
    """Run a fork server with `modules` while the context is open; its processes outlive the context.

    The processes inherit the descriptors in `inherited`. Raises CannotFork on a system without subreapers, or if the
    server does not start.
    """
    with _subreaper():
        connection, other_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with connection:
            with other_end:
                program = [PROGRAM, f"--connection={other_end.fileno()}"]
                start = partial(spawn, inherited=[other_end.fileno(), *inherited])
                server = ForkServer(connection, Child(NAME, environment, log, program, start))
            try:
                await server.load(modules)
                yield server
            finally:
                await server.stop()


def modules_of_services(settings: Settings) -> list[str]:
    """Return the modules that all services use with these settings, and the modules of each service."""
    shared = ["mesh.serving.process", "mesh.serving.http", "mesh.telemetry.span_files"]
    optional = ["uvloop", *(["pygrpc_native.aio"] if settings.engine == "native" else [])]
    installed = [module for module in optional if find_spec(module.partition(".")[0])]
    return [*shared, *installed, *(f"services.{name}.app" for name in SERVICE_NAMES)]


@contextmanager
def _subreaper() -> Iterator[None]:
    """Make this process the parent of its orphaned descendants while the context is open (Linux, prctl(2))."""
    if sys.platform != "linux":
        raise CannotFork("this system has no subreapers.")
    _set_subreaper(1)
    try:
        yield
    finally:
        _set_subreaper(0)


def _set_subreaper(value: int) -> None:
    if ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, value, 0, 0, 0):
        raise CannotFork("this process cannot become a subreaper.")
