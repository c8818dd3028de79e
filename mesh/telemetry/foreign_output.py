"""Redirection of foreign output: plain text that libraries write past the log, to standard output or standard error.

Foreign output must neither mix with the JSON lines of the log nor block the process. A supervised process leaves
standard output and standard error to its parent (`local.child`). Any other process logs to standard output, which a
container mixes with standard error. So the process reads both itself and logs them.
"""

from __future__ import annotations

import faulthandler
import io
import os
import sys
import threading
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

from mesh.telemetry.foreign_lines import forward_records

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _typeshed import ReadableBuffer

    from mesh.telemetry.log_lines import LogLineHandler

STANDARD_OUTPUT, STANDARD_ERROR = 1, 2
# Longest time until the last lines reach the log at the end of the process.
JOIN_TIMEOUT_S = 1.0


@contextmanager
def leave_foreign_output_to_parent() -> Iterator[None]:
    """Write standard output and standard error to the parent's pipe without waiting for room in it."""
    faulthandler.enable()
    with _lossy_streams():
        yield


@contextmanager
def log_foreign_output(lines: LogLineHandler) -> Iterator[None]:
    """Redirect standard output and standard error to `lines` while the context is open.

    `lines` must write to another descriptor. A terminal is not redirected, because a person reads it. A crash is
    written to the original standard error, because the thread that would log it dies with the process.
    """
    redirected = [each for each in (STANDARD_OUTPUT, STANDARD_ERROR) if not os.isatty(each)]
    if not redirected:
        yield
        return
    reader, writer = os.pipe()
    # A thread that waits for room in the pipe may hold the GIL, and then no thread could read the pipe.
    os.set_blocking(writer, False)
    saved = {descriptor: os.dup(descriptor) for descriptor in redirected}
    with _lossy_streams():
        for descriptor in redirected:
            os.dup2(writer, descriptor)
        os.close(writer)
        faulthandler.enable(saved.get(STANDARD_ERROR, STANDARD_ERROR))
        work = partial(forward_records, reader, lines.write_foreign)
        thread = threading.Thread(target=work, name="foreign output", daemon=True)
        thread.start()
        try:
            yield
        finally:
            faulthandler.disable()
            for descriptor, copy in saved.items():
                os.dup2(copy, descriptor)
                os.close(copy)
            # A process started meanwhile may hold the pipe open, so the wait is limited.
            thread.join(JOIN_TIMEOUT_S)


@contextmanager
def _lossy_streams() -> Iterator[None]:
    """Let Python's streams drop output that does not fit into a pipe, where `print` would raise BlockingIOError."""
    usual = sys.stdout, sys.stderr
    for stream in usual:
        with suppress(OSError):
            stream.flush()
    sys.stdout, sys.stderr = (_text_stream(_LossyStream(each)) for each in (STANDARD_OUTPUT, STANDARD_ERROR))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = usual


def _text_stream(raw: _LossyStream) -> io.TextIOWrapper:
    return io.TextIOWrapper(raw, "utf-8", "backslashreplace", write_through=True)  # type: ignore[arg-type]  # a raw stream is enough


class _LossyStream(io.RawIOBase):
    """Raw stream that ignores write errors of its descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer) -> int:
        with suppress(OSError):
            os.write(self._descriptor, data)
        return memoryview(data).nbytes
