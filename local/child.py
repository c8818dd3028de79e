"""Child process that ends with its parent and logs JSON lines to a file.

The child writes its log to the file itself. A pipe carries all other output to the parent: text of libraries or the
interpreter on standard output and standard error, and the last output of a crash. The parent writes it to the same file
as JSON (`mesh.telemetry.foreign_lines`). The child never waits for the parent: output that does not fit into the pipe
is lost.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from contextlib import ExitStack, suppress
from io import FileIO
from typing import TYPE_CHECKING

from local.processes import Streams, spawn
from mesh.telemetry.foreign_lines import ForeignRecord, forward_records
from mesh.telemetry.log_lines import FOREIGN_LOGGER, foreign_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from local.processes import Start

# The next process renames a log larger than this and starts a new one. Only one older file is stored.
MAX_LOG_BYTES = 16 * 1024 * 1024
# Longest incomplete line that is found at the end of a log.
MAX_LINE_BYTES = 4 * 1024 * 1024
POLL_INTERVAL_S = 0.02
# Longest time until the last lines of an ended process reach its log.
LOG_TIMEOUT_S = 2.0


class Child:
    """Process of a part of the mesh. A service loads its code at once and serves after `send_line`.

    `program` is a module with its arguments, by default the service `name`. `start` starts the process, and its
    exceptions are raised here.
    """

    def __init__(
        self,
        name: str,
        environment: Mapping[str, str],
        log: Path,
        program: Sequence[str] = (),
        start: Start = spawn,
    ) -> None:
        self.name = name
        self.log = log
        prepare_log(log, name)
        with ExitStack() as own_ends, ExitStack() as childs_ends:
            standard_input, lines = _open_pipe(childs_ends, own_ends)
            output, foreign = _open_pipe(own_ends, childs_ends)
            os.set_blocking(foreign, False)
            own_log = childs_ends.enter_context(log.open("ab"))
            self._log_begins_at = own_log.tell()
            streams = Streams(standard_input, foreign, own_log.fileno())
            self._process = start(program or [f"services.{name}"], environment, streams)
            own_ends.pop_all()
        # The pipe closes with this process, which stops the service.
        self._standard_input = FileIO(lines, "wb")
        self._reading = threading.Thread(
            target=_log_foreign, args=(output, log, name), name=f"output of {name}", daemon=True
        )
        self._reading.start()

    def send_line(self, text: str) -> None:
        """Send a line to the process. A service waits for the URL of its ready database."""
        line = memoryview(f"{text}\n".encode())
        with suppress(BrokenPipeError):  # the process has ended, which callers see in `exit_code`
            while line:
                line = line[self._standard_input.write(line) :]

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code (minus the signal's number if a signal killed the process), or None while it runs."""
        return self._process.poll()

    def terminate(self) -> None:
        """Ask the service to drain and exit."""
        self._process.terminate()

    def kill(self) -> None:
        """Kill the process at once."""
        self._process.kill()

    async def wait(self) -> int:
        """Return the exit code once the process has ended and its log is complete."""
        while (code := self.exit_code) is None:  # noqa: ASYNC110 - the process belongs to no event loop
            await asyncio.sleep(POLL_INTERVAL_S)
        # A process started by the child may hold the pipe open, so the wait is limited.
        give_up_at = time.monotonic() + LOG_TIMEOUT_S
        while self._reading.is_alive() and time.monotonic() < give_up_at:  # noqa: ASYNC110 - nor does the thread
            await asyncio.sleep(POLL_INTERVAL_S)
        self._standard_input.close()
        return code

    def last_output(self) -> str:
        """Return the last line of foreign output in this process's log, or else the last line of the log."""
        self._reading.join(LOG_TIMEOUT_S if self.exit_code is not None else 0)
        with self.log.open("rb") as file:
            file.seek(self._log_begins_at)
            records = [record for line in file if (record := _parsed(line)) is not None]
        foreign = [record for record in records if record.get("logger") == FOREIGN_LOGGER]
        last = (foreign or records or [{"event": "it wrote nothing"}])[-1]
        return str(last.get("exception") or last.get("event")).strip().splitlines()[-1]


def prepare_log(log: Path, name: str) -> None:
    """Prepare a log for a new process: create its folder, rename a large log, and complete the last line."""
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > MAX_LOG_BYTES:
        log.replace(log.with_suffix(".old.jsonl"))
    _end_last_line(log, name)


def _open_pipe(for_reader: ExitStack, for_writer: ExitStack) -> tuple[int, int]:
    """Open a pipe, and let each stack close one end."""
    reader, writer = os.pipe()
    for_reader.callback(os.close, reader)
    for_writer.callback(os.close, writer)
    return reader, writer


def _parsed(line: bytes) -> Mapping[str, object] | None:
    """Return the record in a log line, or None if the line is incomplete (a full disk, or a write in progress)."""
    try:
        record: Mapping[str, object] = json.loads(line)
    except ValueError:
        return None
    return record


def _log_foreign(reader: int, log: Path, name: str) -> None:
    with log.open("ab", buffering=0) as file:

        def write(record: ForeignRecord) -> None:
            with suppress(OSError):  # on a full disk, the lines are dropped, and reading continues
                file.write(foreign_line(record, name))

        forward_records(reader, write)
    with suppress(OSError):  # the next process of the service ends the line
        _end_last_line(log, name)


def _end_last_line(log: Path, name: str) -> None:
    """Replace an incomplete last line of a log, left by a killed process, by a complete JSON line."""
    if not log.exists():
        return
    with log.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        begins_at = max(0, size - MAX_LINE_BYTES)
        file.seek(begins_at)
        begun = file.read().rpartition(b"\n")[2]
        if begun:
            file.truncate(size - len(begun))
            file.seek(0, os.SEEK_END)
            file.write(foreign_line(ForeignRecord(begun.decode(errors="backslashreplace"), "warning"), name))
