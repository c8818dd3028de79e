"""Time of each interceptor inside of a loaded server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from bench.h2load import load
from bench.rows import ENGINES, timed_row
from bench.server_process import started
from bench.workspace import times_path_of

if TYPE_CHECKING:
    from bench.rows import Row

PERCENT = (0, 100)


def steps_of_all(duration_s: float) -> dict[str, dict[str, float]]:
    """Load a server for each engine and for each of PERCENT; return the times by the label of its row."""
    rows = [timed_row(engine, percent) for engine in ENGINES for percent in PERCENT]
    return {row.label: steps_of(row, duration_s) for row in rows}


def steps_of(row: Row, duration_s: float) -> dict[str, float]:
    """Load the server of `row`; return the median time of each interceptor in one call, in microseconds."""
    with started(row) as server:
        server.wait_until_listening()
        with load(server, duration_s):
            pass
    times_us: dict[str, float] = json.loads(times_path_of(row.name).read_text(encoding="utf-8"))
    return times_us
