"""Child processes: start of a process, and interface of a running one."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Streams:
    """Descriptors for a child: standard input, the pipe for standard output and standard error, and the log."""

    standard_input: int
    output: int
    log: int


class Process(Protocol):
    """Interface of a running child process; `subprocess.Popen` has it."""

    @property
    def pid(self) -> int:
        """The process id."""

    def poll(self) -> int | None:
        """Return the exit code (minus the signal's number if a signal killed the process), or None while it runs."""

    def terminate(self) -> None:
        """Send SIGTERM, unless the process has ended."""

    def kill(self) -> None:
        """Send SIGKILL, unless the process has ended."""


class Start(Protocol):
    """Interface of a starter of processes."""

    def __call__(self, program: Sequence[str], environment: Mapping[str, str], streams: Streams) -> Process:
        """Start `program`, a module with its arguments; the process finds its log in LOG_FD."""


def spawn(
    program: Sequence[str], environment: Mapping[str, str], streams: Streams, inherited: Sequence[int] = ()
) -> Process:
    """Start a module in a new interpreter. The descriptors in `inherited` stay open in the process."""
    return subprocess.Popen(  # noqa: S603 - our own interpreter on our own module
        [sys.executable, "-m", *program],
        env={**environment, "LOG_FD": str(streams.log)},
        stdin=streams.standard_input,
        stdout=streams.output,
        stderr=streams.output,
        pass_fds=[streams.log, *inherited],
        start_new_session=True,  # the parent handles Ctrl-C in a terminal
    )
