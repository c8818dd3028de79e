"""Fork server of a supervisor: its start and stop, and the processes that it forks.

This module imports little, so that a command can start the server before it imports its own code.
See docs/adr/0037-processes-of-a-local-mesh.md.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Self

from mesh.failure import Failure

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from local.processes import Streams

PROGRAM = "local.fork_server"
READY = b"ready"
# Longest request: an environment and a program.
MAX_REQUEST_BYTES = 1024 * 1024
MAX_ANSWER_BYTES = 64
# Longest times until all modules are imported, until a process is forked, and until a server that failed has exited.
READY_TIMEOUT_S = 30.0
FORK_TIMEOUT_S = 5.0
EXIT_TIMEOUT_S = 2.0
PR_SET_CHILD_SUBREAPER = 36


class CannotFork(Failure):
    """Failure of the fork server; the message gives the reason. `local.processes.spawn` works without it."""


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
    """Fork server, as a context manager. Its processes outlive the server.

    The server starts when the object is created. It calls the function `preload` ("a.b:c"), which imports modules and
    must not start a thread. Raises CannotFork on a system without subreapers.
    """

    def __init__(self, preload: str = "local.preloading:preload") -> None:
        if sys.platform != "linux":
            raise CannotFork("this system has no subreapers.")
        # First parents of the forked processes, which the server reaps unless somebody kills it.
        self._parents: list[int] = []
        self._connection, other_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with other_end:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter on our own module
                [sys.executable, "-m", PROGRAM, f"--connection={other_end.fileno()}", preload],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=[other_end.fileno()],
                start_new_session=True,  # the parent handles Ctrl-C in a terminal
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    async def wait_until_ready(self) -> None:
        """Wait until `preload` has returned; raise CannotFork if it fails or takes too long."""
        self._connection.settimeout(0)
        receiving = asyncio.get_running_loop().sock_recv(self._connection, MAX_ANSWER_BYTES)
        try:
            answer = await asyncio.wait_for(receiving, READY_TIMEOUT_S)
        except (TimeoutError, OSError):
            answer = b""
        if answer != READY:
            raise self._failure()
        self._connection.settimeout(FORK_TIMEOUT_S)

    def fork(
        self,
        program: Sequence[str],
        environment: Mapping[str, str],
        streams: Streams,
        inherited: Sequence[int] = (),
    ) -> ForkedProcess:
        """Fork a process that runs a module with its arguments, as `local.processes.spawn` does.

        Raises CannotFork if the server fails.
        """
        request = json.dumps([program, dict(environment)]).encode()
        descriptors = [streams.standard_input, streams.output, streams.log, *inherited]
        try:
            with _subreaper():
                socket.send_fds(self._connection, [request], descriptors)
                answer = self._receive_ids()
        except OSError:
            answer = b""
        if not answer:
            raise self._failure()
        pid, parent = map(int, answer.split())
        self._parents.append(parent)
        return ForkedProcess(pid)

    def _receive_ids(self) -> bytes:
        """Return the ids that a forked process sends, or an empty value if the server has ended before the fork."""
        try:
            return self._connection.recv(MAX_ANSWER_BYTES)
        except TimeoutError:
            # A process that is already forked still sends its ids. Otherwise the connection closes.
            self._process.kill()
            return self._connection.recv(MAX_ANSWER_BYTES)

    def stop(self) -> None:
        """Kill the server, even while it imports. It has nothing to clean up."""
        self._connection.close()
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        for parent in self._parents:
            with suppress(ChildProcessError):  # the server has reaped it
                os.waitpid(parent, os.WNOHANG)

    def _failure(self) -> CannotFork:
        self._connection.close()
        try:
            output, _ = self._process.communicate(timeout=EXIT_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            output, _ = self._process.communicate()
        lines = output.decode(errors="replace").strip().splitlines() or ["it wrote nothing"]
        return CannotFork(f"the fork server failed: {lines[-1]}.")


@contextmanager
def _subreaper() -> Iterator[None]:
    """Make this process the parent of its orphaned descendants while the context is open (Linux, prctl(2))."""
    _set_subreaper(1)
    try:
        yield
    finally:
        _set_subreaper(0)


def _set_subreaper(value: int) -> None:
    if ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, value, 0, 0, 0):
        raise CannotFork("this process cannot become a subreaper.")
