"""Profile of a loaded server: shares of its processor time, by thread and by module.

py-spy samples the event loop's thread from outside. A sample counts for the innermost module of `interceptors/` on its
stack, so time that the access log spends in `json` belongs to the access log. A sample without such a module belongs to
gRPC and the event loop. Other threads (the engine's, and the span exporter's) count with the processor time that the
kernel reports.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from bench.h2load import load
from bench.workspace import FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.server_process import ServerProcess

SAMPLES_PER_S = 250
ATTACH_TIME_S = 2.0
PROFILED = ("grpcio_100", "native_100")
ENGINE = "engine and event loop, in the loop's thread"
THREADS = "other threads: the engine's, and the export of spans"

_OURS = re.compile(r"\(interceptors/([\w/]+)\.py")
_HANDLER = "(bench/servers/echo.py"
_OTHER_THREAD = "Thread._bootstrap"


def shares_of(server: ServerProcess, duration_s: float) -> dict[str, float] | None:
    """Load `server`; return each part's share of its processor time, or None if py-spy has no access."""
    raw = FOLDER / f"{server.row.name}.pyspy"
    with load(server, duration_s + ATTACH_TIME_S):
        before = _thread_times(server)
        done = subprocess.run(_py_spy(server, duration_s, raw), capture_output=True, text=True, check=False)
        after = _thread_times(server)
    if done.returncode != 0:
        print(f"py-spy cannot profile {server.row.label}: {done.stderr.strip()[-200:]}", file=sys.stderr)
        return None
    took = {thread: seconds - before.get(thread, 0) for thread, seconds in after.items()}
    loop_share = took[server.pid] / sum(took.values())
    counts = count_parts(raw.read_text(encoding="utf-8").splitlines())
    shares = {part: count / counts.total() * loop_share for part, count in counts.items()}
    return {**shares, THREADS: 1 - loop_share}


def _py_spy(server: ServerProcess, duration_s: float, raw: Path) -> list[str]:
    raw.unlink(missing_ok=True)
    program = str(Path(sys.executable).with_name("py-spy"))
    options = [f"--pid={server.pid}", f"--duration={max(1, round(duration_s))}", f"--rate={SAMPLES_PER_S}"]
    return [program, "record", *options, "--format=raw", f"--output={raw}"]


def _thread_times(server: ServerProcess) -> dict[int, float]:
    """Return the processor seconds of each thread.

    The first thread runs the event loop, and its id is the process id.
    """
    return {each.id: each.user_time + each.system_time for each in psutil.Process(server.pid).threads()}


def count_parts(stacks: Iterable[str]) -> Counter[str]:
    """Return the samples of each part.

    `stacks` are lines such as "a (x.py:1);b (y.py:2) 17", outermost frame first.
    """
    counts: Counter[str] = Counter()
    for line in stacks:
        stack, _, count = line.rpartition(" ")
        if not stack.startswith(_OTHER_THREAD):
            counts[part_of(stack.split(";"))] += int(count)
    return counts


def part_of(frames: list[str]) -> str:
    """Return the part to which a stack belongs."""
    for frame in reversed(frames):
        ours = _OURS.search(frame)
        if ours is not None:
            return f"`{ours[1]}`"
        if _HANDLER in frame:
            return "handler"
    return ENGINE
