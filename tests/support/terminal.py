"""Pseudo-terminal of a given width for running commands."""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from typing import TYPE_CHECKING

from tests.support.local_mesh import SOLO60

if TYPE_CHECKING:
    from collections.abc import Mapping

LINES = 50
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def solo60_in_terminal(
    *arguments: str, columns: int, environment: Mapping[str, str] | None = None, typed: bytes = b""
) -> tuple[int, str]:
    """Run `solo60` in a terminal; return its exit code and its output without escape sequences.

    Lines wider than the terminal are not wrapped, as in text copied from a terminal.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, columns, 0, 0))
    variables = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    with subprocess.Popen(
        [SOLO60, *arguments],
        env={**variables, "TERM": "xterm", **(environment or {})},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        os.write(ours, typed)
        shown = _read_all(ours)
    os.close(ours)
    return process.returncode, ESCAPES.sub("", shown.decode()).replace("\r\n", "\n")


def _read_all(terminal: int) -> bytes:
    shown = b""
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError as error:  # on Linux, the other end of the terminal is closed
            if error.errno != errno.EIO:
                raise
            return shown
        if not part:
            return shown
        shown += part
