"""A child: a program in a process of its own that never outlives this one, with its output in a log file."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

# A log that has grown to this size starts anew with the next process; one older file is kept.
LARGEST_LOG_BYTES = 16 * 1024 * 1024
POLL_INTERVAL_S = 0.02


class Child:
    """The process of one service, from its start on: it loads its code at once, and serves when told to begin.

    `program` is a module and its arguments, where it is not the service itself that is to run. `inherited` are file
    descriptors that stay open in the process.
    """

    def __init__(
        self,
        name: str,
        environment: Mapping[str, str],
        log: Path,
        program: Sequence[str] = (),
        inherited: Sequence[int] = (),
    ) -> None:
        self.name = name
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        if log.exists() and log.stat().st_size > LARGEST_LOG_BYTES:
            log.replace(log.with_suffix(".old.jsonl"))
        with log.open("ab") as output:
            self._log_begins_at = output.tell()
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter on our own module
                [sys.executable, "-m", *(program or [f"services.{name}"])],
                env=dict(environment),
                stdin=subprocess.PIPE,  # brings the database; when it closes, because we are gone, the service stops
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in a terminal is ours to handle
                pass_fds=inherited,
            )

    def begin(self, database_url: str) -> None:
        """Let the service serve, with the database that is ready for it."""
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):  # it has ended; whoever waits for it to serve will see that
                self._process.stdin.write(f"{database_url}\n".encode())
                self._process.stdin.flush()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """How the process ended (minus the signal's number where one killed it), or None while it runs."""
        return self._process.poll()

    def terminate(self) -> None:
        """Ask the service to drain and end."""
        self._process.terminate()

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()

    async def ended(self) -> int:
        """Return the exit code once the process has ended."""
        while (code := self.exit_code) is None:  # noqa: ASYNC110 - the process belongs to no event loop
            await asyncio.sleep(POLL_INTERVAL_S)
        if self._process.stdin is not None:
            self._process.stdin.close()
        return code

    def last_words(self) -> str:
        """Return the last line the process wrote that is no log line: what it said to whoever started it."""
        with self.log.open("rb") as file:
            file.seek(self._log_begins_at)
            lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
        said = [line for line in lines if not line.startswith("{")]
        return (said or lines or ["it wrote nothing"])[-1]
