"""Fork server: program that imports the code of all services once, and forks one process for each service.

The processes share the memory of the imported code, and start faster than interpreters of their own. The server starts
no thread and creates no gRPC object, because neither survives a fork. `local.forking` runs this program.
"""

from __future__ import annotations

import argparse
import json
import os
import runpy
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING

from local.forking import MAX_REQUEST_BYTES, READY
from mesh.loading import loading_service

if TYPE_CHECKING:
    from collections.abc import Sequence

# Descriptors of a request: standard input, the pipe for standard output and standard error, the log, and others.
MAX_DESCRIPTORS = 16
REPARENTING_POLL_S = 0.001
# Fields `arg_start` and `arg_end` of /proc/self/stat, counted from the state of the process (proc(5)).
ARGUMENT_FIELDS = slice(45, 47)


class ThreadsRemain(Exception):
    """Error of a function that starts a thread; the message names the function."""


def main() -> None:
    """Call the function in the arguments, then fork a process for each request from a socket.

    Each forked process runs its program as `python -m` would. The server exits when the other end of the socket closes.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connection", type=int, required=True, help="descriptor of a socket (AF_UNIX)")
    parser.add_argument("preload", help='function that imports the code of all processes, such as "a.b:c"')
    given = parser.parse_args()
    with socket.socket(fileno=given.connection) as connection:
        with loading_service():
            resolve_name(given.preload)()
        if len([*Path("/proc/self/task").iterdir()]) > 1:
            raise ThreadsRemain(f"{given.preload} starts a thread, so the server cannot fork")
        with suppress(BrokenPipeError):  # the other end is closed
            connection.send(READY)
        program = _serve(connection)
    if not program:
        os._exit(0)  # nothing needs a clean-up
    sys.argv = program
    runpy.run_module(program[0], run_name="__main__", alter_sys=True)


def _serve(connection: socket.socket) -> list[str]:
    """Fork a process for each request. Return its program in that process, and an empty list in the server."""
    while True:
        request, descriptors, _, _ = socket.recv_fds(connection, MAX_REQUEST_BYTES, MAX_DESCRIPTORS)
        if not request:
            return []
        program, environment = json.loads(request)
        parent = _fork_child_of_supervisor()
        if parent:
            # If the server sent this id, a killed server could leave a process that the supervisor does not know.
            connection.send(f"{os.getpid()} {parent}".encode())
            _become(program, environment, descriptors)
            return [*program]
        for each in descriptors:
            os.close(each)


def _fork_child_of_supervisor() -> int:
    """Fork a process; return the id of its first parent in that process, and 0 in the server.

    The first parent has ended. So the kernel has made the process a child of the nearest subreaper, the supervisor.
    """
    if os.fork():
        _, status = os.wait()
        if status:
            os._exit(1)  # the first parent has printed its error
        return 0
    parent = os.getpid()
    if os.fork():
        os._exit(0)
    while os.getppid() == parent:
        time.sleep(REPARENTING_POLL_S)
    return parent


def _become(program: Sequence[str], environment: dict[str, str], descriptors: list[int]) -> None:
    """Give this process its own session, standard streams, environment and command line."""
    os.setsid()
    standard_input, output, log = descriptors[:3]
    for source, target in ((standard_input, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.close(standard_input)
    os.close(output)
    from mesh.config import replace_environment  # noqa: PLC0415 - slow to import, and imported by every program

    replace_environment({**environment, "LOG_FD": str(log)})
    with suppress(OSError):  # the command line is only for `ps`
        _set_command_line([sys.executable, "-m", *program])


def _set_command_line(command: Sequence[str]) -> None:
    """Overwrite the command line.

    If the last byte is not NUL, the kernel shows only the text before the first NUL.
    """
    fields = Path("/proc/self/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    start, end = map(int, fields[ARGUMENT_FIELDS])
    text = " ".join(command).encode()[: end - start - 2]
    with Path("/proc/self/mem").open("r+b", buffering=0) as memory:
        memory.seek(start)
        memory.write(text.ljust(end - start - 1, b"\0") + b".")


if __name__ == "__main__":
    main()
