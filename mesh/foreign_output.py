"""Foreign output: output of a process past its log. It is not JSON, so it must not get into the log.

Writing such output must not stop the process either.
A process with a supervisor leaves standard output and standard error to that (`mesh.child`). One without logs to
standard output, which a container keeps together with standard error, so it reads both itself.
"""

from __future__ import annotations

import faulthandler
import io
import os
import sys
import threading
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from mesh.foreign_lines import hand_on

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mesh.log_lines import LogLines

STANDARD_OUTPUT, STANDARD_ERROR = 1, 2
# How long the last lines may take to reach the log when the process ends.
PATIENCE_S = 1.0


@contextmanager
def foreign_output_left_to_parent() -> Iterator[None]:
    """Redirect standard output and error to the pipes that the parent reads; never wait for room in a pipe."""
    faulthandler.enable()
    with _lossy_streams():
        yield


@contextmanager
def foreign_output_logged(lines: LogLines) -> Iterator[None]:
    """Redirect standard output and standard error to `lines`, for the time of the context.

    `lines` writes to a descriptor of its own. A terminal is left as it is: its output is for a person. A
    crash is written to standard error as it is, because the thread that would log it dies with the process.
    """
    taken = [each for each in (STANDARD_OUTPUT, STANDARD_ERROR) if not os.isatty(each)]
    if not taken:
        yield
        return
    reader, writer = os.pipe()
    # A thread that waits for room here may hold the interpreter's lock, without which nobody makes room.
    os.set_blocking(writer, False)
    kept = {descriptor: os.dup(descriptor) for descriptor in taken}
    with _lossy_streams():
        for descriptor in taken:
            os.dup2(writer, descriptor)
        os.close(writer)
        faulthandler.enable(kept.get(STANDARD_ERROR, STANDARD_ERROR))
        work = partial(hand_on, reader, lines.write_foreign)
        thread = threading.Thread(target=work, name="foreign output", daemon=True)
        thread.start()
        try:
            yield
        finally:
            faulthandler.disable()
            for descriptor, copy in kept.items():
                os.dup2(copy, descriptor)
                os.close(copy)
            # A process that was started meanwhile may hold the pipe open.
            thread.join(PATIENCE_S)


@contextmanager
def _lossy_streams() -> Iterator[None]:
    """Let Python's own streams drop output that nobody reads: the usual ones raise BlockingIOError in `print`."""
    usual = sys.stdout, sys.stderr
    for stream in usual:
        with suppress(OSError):
            stream.flush()
    sys.stdout, sys.stderr = (_text_stream(_Lossy(each)) for each in (STANDARD_OUTPUT, STANDARD_ERROR))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = usual


def _text_stream(raw: _Lossy) -> io.TextIOWrapper:
    return io.TextIOWrapper(raw, "utf-8", "backslashreplace", write_through=True)  # type: ignore[arg-type]  # a raw stream is enough


class _Lossy(io.RawIOBase):
    """A descriptor that may be written to and never complains."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:  # noqa: ANN401 - as RawIOBase has it
        with suppress(OSError):
            os.write(self._descriptor, data)
        return len(data)
