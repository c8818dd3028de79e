"""A child: a program in a process of its own that never outlives this one, with its log in a file of JSON lines.

The child writes its log to the file itself. Whatever else it, its libraries or the interpreter write to standard output
and standard error comes here through a pipe, also the last words of a process that crashes, and is written to the same
file as JSON (`mesh.foreign_lines`). A child never waits for this process: output that the pipe cannot take is lost.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from mesh.foreign_lines import ForeignRecord, hand_on
from mesh.log_lines import FOREIGN_LOGGER, foreign_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

# A log that has grown to this size starts anew with the next process; one older file is kept.
LARGEST_LOG_BYTES = 16 * 1024 * 1024
# The longest line that is looked for at the end of a log.
LONGEST_LINE_BYTES = 4 * 1024 * 1024
POLL_INTERVAL_S = 0.02
# How long the last lines of a process that has ended may take to reach its log.
LOG_PATIENCE_S = 2.0


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
        _end_last_line(log, name)
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        with log.open("ab") as output, os.fdopen(writer, "wb", buffering=0) as foreign:
            self._log_begins_at = output.tell()
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter on our own module
                [sys.executable, "-m", *(program or [f"services.{name}"])],
                env={**environment, "LOG_FD": str(output.fileno())},
                stdin=subprocess.PIPE,  # brings the database; when it closes, because we are gone, the service stops
                stdout=foreign,
                stderr=foreign,
                pass_fds=[output.fileno(), *inherited],
                start_new_session=True,  # Ctrl-C in a terminal is ours to handle
            )
        self._reading = threading.Thread(
            target=_log_foreign, args=(reader, log, name), name=f"output of {name}", daemon=True
        )
        self._reading.start()

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
        """Return the exit code once the process has ended and its log is whole."""
        while (code := self.exit_code) is None:  # noqa: ASYNC110 - the process belongs to no event loop
            await asyncio.sleep(POLL_INTERVAL_S)
        # A process that the child has started may hold the pipe open.
        give_up_at = time.monotonic() + LOG_PATIENCE_S
        while self._reading.is_alive() and time.monotonic() < give_up_at:  # noqa: ASYNC110 - nor does the thread
            await asyncio.sleep(POLL_INTERVAL_S)
        if self._process.stdin is not None:
            self._process.stdin.close()
        return code

    def last_words(self) -> str:
        """Return the last line that the process wrote past its log, or else the last one of its log."""
        self._reading.join(LOG_PATIENCE_S if self.exit_code is not None else 0)
        with self.log.open("rb") as file:
            file.seek(self._log_begins_at)
            records = [record for line in file if (record := _parsed(line)) is not None]
        foreign = [record for record in records if record.get("logger") == FOREIGN_LOGGER]
        last = (foreign or records or [{"event": "it wrote nothing"}])[-1]
        return str(last.get("exception") or last.get("event")).strip().splitlines()[-1]


def _parsed(line: bytes) -> Mapping[str, object] | None:
    """Return the record in a line of a log, or None if a full disk or a writer at work left it torn."""
    try:
        record: Mapping[str, object] = json.loads(line)
    except ValueError:
        return None
    return record


def _log_foreign(reader: int, log: Path, name: str) -> None:
    with log.open("ab", buffering=0) as file:

        def write(record: ForeignRecord) -> None:
            with suppress(OSError):  # a full disk is no reason to stop reading
                file.write(foreign_line(record, name))

        hand_on(reader, write)
    with suppress(OSError):
        _end_last_line(log, name)


def _end_last_line(log: Path, name: str) -> None:
    """Make a line of the log whole JSON where a process died in the midst of writing it."""
    if not log.exists():
        return
    with log.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        begins_at = max(0, size - LONGEST_LINE_BYTES)
        file.seek(begins_at)
        begun = file.read().rpartition(b"\n")[2]
        if begun:
            file.truncate(size - len(begun))
            file.seek(0, os.SEEK_END)
            file.write(foreign_line(ForeignRecord(begun.decode(errors="backslashreplace"), "warning"), name))
