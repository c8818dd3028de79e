"""h2load: nghttp2's load generator, which is far faster than the servers that it calls.

h2load does not read gRPC's status in the trailers. So successful calls are counted at the server.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bench.cores import load_core, on_core
from bench.workspace import FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from bench.server_process import ServerProcess

# Every row has the same number of calls in flight. This number keeps each server busy, and does not overload ours,
# which sheds calls that wait for 20 ms. HTTP/1.1 carries one call at a time per connection, HTTP/2 many.
CONNECTIONS = 4
STREAMS = 5
CONCURRENT_CALLS = CONNECTIONS * STREAMS
END_TIMEOUT_S = 30.0
HTTP_OK = "200"


def program_path() -> str:
    """Return the path of h2load; exit with an error message if it is not installed."""
    path = shutil.which("h2load")
    if path is None:
        sys.exit("h2load is not installed. Run `apt-get install nghttp2-client`.")
    return path


@contextmanager
def load(server: ServerProcess, duration_s: float) -> Iterator[None]:
    """Call `server` as fast as it responds, for at most `duration_s`, from the load's core."""
    with on_core(load_core()), _output(server) as output:
        process = subprocess.Popen(_command(server, [f"--duration={_time(duration_s)}"]), stdout=output, stderr=output)
    try:
        yield
        process.wait(duration_s + END_TIMEOUT_S)
    finally:
        process.kill()
        process.wait()


def call_times_ms(server: ServerProcess, duration_s: float, calls_per_s: float) -> list[float]:
    """Call `server` at a given rate; return the duration of each call in milliseconds."""
    log = FOLDER / f"{server.row.name}.times"
    log.unlink(missing_ok=True)
    rate = calls_per_s / _connections(server)
    options = [f"--duration={_time(duration_s)}", f"--rps={rate:.2f}", f"--log-file={log}"]
    with on_core(load_core()), _output(server) as output:
        subprocess.run(
            _command(server, options), stdout=output, stderr=output, timeout=duration_s + END_TIMEOUT_S, check=True
        )
    lines = (line.split("\t") for line in log.read_text(encoding="ascii").splitlines())
    return [int(microseconds) / 1000 for _began, status, microseconds in lines if status == HTTP_OK]


def completed_calls(server: ServerProcess) -> int:
    """Return the number of calls in the last load that got a response, successful or not."""
    found = re.search(r"(\d+) succeeded", _output_path(server).read_text(encoding="utf-8"))
    return int(found[1]) if found else 0


def call_some(server: ServerProcess, count: int) -> None:
    """Call `server` `count` times, one after the other; return when all calls have a response, successful or not."""
    with _output(server) as output:
        one_by_one = ["--clients=1", "--max-concurrent-streams=1"]  # h2load uses the last value of an option
        command = _command(server, [f"--requests={count}", *one_by_one])
        subprocess.run(command, stdout=output, stderr=output, timeout=END_TIMEOUT_S, check=True)


def _command(server: ServerProcess, options: Sequence[str]) -> list[str]:
    row = server.row
    streams = 1 if row.http1 else STREAMS
    protocol = ["--h1"] if row.http1 else []
    headers = [f"--header={header}" for header in row.headers]
    how = [f"--clients={_connections(server)}", f"--max-concurrent-streams={streams}", f"--data={row.body}"]
    return [program_path(), *protocol, *how, *headers, *options, server.url]


def _connections(server: ServerProcess) -> int:
    return CONCURRENT_CALLS if server.row.http1 else CONNECTIONS


def _time(duration_s: float) -> str:
    # h2load accepts no fractions.
    return f"{round(duration_s * 1000)}ms"


@contextmanager
def _output(server: ServerProcess) -> Iterator[int]:
    with _output_path(server).open("wb") as file:
        yield file.fileno()


def _output_path(server: ServerProcess) -> Path:
    return FOLDER / f"{server.row.name}.h2load"
