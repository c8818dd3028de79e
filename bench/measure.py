"""Server benchmark: calls per second, processor time per call, and latency at half load.

All servers run at once, and each round measures every server for one short window in turn. So a change of the machine's
speed affects all rows. The figure of a row is the median of its windows. The ratio of two rows is the median of the
ratios in each round.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from statistics import fmean, median, quantiles
from typing import TYPE_CHECKING

from bench.h2load import call_some, call_times_ms, completed_calls, load
from bench.server_process import RowUnavailable
from bench.targets import CPU, RPS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bench.effort import Effort
    from bench.server_process import ServerProcess
    from bench.targets import Samples

MICROSECONDS = 1e6
ATTEMPTS = 5
# Longer than a typical stall of a busy machine.
PAUSE_AFTER_STALL_S = 1.0
FIRST_CALLS = 40


@dataclass(frozen=True, slots=True)
class Window:
    """Figures of one server in one window.

    `rps` is successful calls per second. `cpu_us` is the processor time per successful call in microseconds. `refused`
    is the share of rejected calls.
    """

    rps: float
    cpu_us: float
    refused: float


@dataclass(frozen=True, slots=True)
class Figures:
    """One row of the table.

    `rps` is successful calls per second. `p50_ms` and `p99_ms` are latencies at half of that rate. `server_cpu_us` is
    the processor time of all the server's threads per call. `refused` is the share of calls with an error response, and
    `exported` the share of calls with a span at the collector, or None without a collector.
    """

    name: str
    label: str
    rps: float
    p50_ms: float
    p99_ms: float
    server_cpu_us: float
    refused: float
    exported: float | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """Measured rows with the samples of each round, and the reason for each row that could not be measured."""

    rows: list[Figures]
    samples: Samples
    omitted: Mapping[str, str]


def ready_servers(servers: Iterable[ServerProcess]) -> tuple[list[ServerProcess], dict[str, str]]:
    """Wait for the servers; return the working ones, and for each other row the reason why it is missing."""
    ready: list[ServerProcess] = []
    omitted: dict[str, str] = {}
    for server in servers:
        try:
            server.wait_until_listening()
            _check_answers(server)
        except RowUnavailable as error:
            omitted[server.row.name] = str(error)
        else:
            ready.append(server)
    return ready, omitted


def _check_answers(server: ServerProcess) -> None:
    """Raise RowUnavailable unless the handler answers every one of the first calls."""
    answered = 0
    for _ in range(ATTEMPTS):  # our chain may shed calls while other servers start
        answered = -server.calls
        call_some(server, FIRST_CALLS)
        answered += server.calls
        if answered == FIRST_CALLS:
            return
        time.sleep(PAUSE_AFTER_STALL_S)
    raise RowUnavailable(f"{server.row.label} answered {answered} of {FIRST_CALLS} calls")


def measure(servers: Sequence[ServerProcess], omitted: Mapping[str, str], effort: Effort) -> Table:
    """Return the figures of all servers, measured side by side."""
    windows = measure_rounds(servers, effort)
    samples = samples_of(windows)
    times_ms: dict[str, list[float]] = {server.row.name: [] for server in servers}
    for _ in range(effort.latency_rounds):
        for server in servers:
            name = server.row.name
            times_ms[name] += call_times_ms(server, effort.latency_window_s, median(samples[RPS][name]) / 2)
    rows = [_figures(server, windows[server.row.name], times_ms[server.row.name]) for server in servers]
    return Table(rows, samples, omitted)


def measure_rounds(servers: Sequence[ServerProcess], effort: Effort) -> dict[str, list[Window]]:
    """Measure every server in each round; return the windows of each row, one for each round.

    Every second round is in the opposite order, so that no row is always measured before another one.
    """
    windows: dict[str, list[Window]] = {server.row.name: [] for server in servers}
    for number in range(effort.rounds):
        for server in servers if number % 2 == 0 else reversed(servers):
            windows[server.row.name].append(take_window(server, effort))
    return windows


def samples_of(windows: Mapping[str, Sequence[Window]]) -> dict[str, dict[str, list[float]]]:
    """Return the samples of each figure and row, one for each round."""
    return {
        RPS: {name: [each.rps for each in found] for name, found in windows.items()},
        CPU: {name: [each.cpu_us for each in found] for name, found in windows.items()},
    }


def _figures(server: ServerProcess, windows: Sequence[Window], times_ms: Sequence[float]) -> Figures:
    percentiles = quantiles(times_ms, n=100)
    return Figures(
        name=server.row.name,
        label=server.row.label,
        rps=median(window.rps for window in windows),
        p50_ms=percentiles[49],
        p99_ms=percentiles[98],
        server_cpu_us=median(window.cpu_us for window in windows),
        refused=fmean(window.refused for window in windows),
        exported=server.exported_share(),
    )


def take_window(server: ServerProcess, effort: Effort) -> Window:
    """Load `server` and measure one window, between its warm-up and the end of the load.

    A busy machine may leave the server no time at all. The window is then repeated; the program exits after 5 attempts.
    """
    for _ in range(ATTEMPTS):
        window = _window(server, effort)
        if window is not None:
            return window
        time.sleep(PAUSE_AFTER_STALL_S)
    sys.exit(f"{server.row.label} answered no call within {effort.window_s} s, {ATTEMPTS} times")


def _window(server: ServerProcess, effort: Effort) -> Window | None:
    """Measure one window; return None if the server answered no call."""
    before = server.calls
    with load(server, effort.warm_up_s + effort.window_s + effort.warm_up_s / 2):
        time.sleep(effort.warm_up_s)
        began, cpu_s, calls = time.perf_counter(), server.cpu_s(), server.calls
        time.sleep(effort.window_s)
        took_s, cpu_s, calls = time.perf_counter() - began, server.cpu_s() - cpu_s, server.calls - calls
    completed = completed_calls(server)
    refused = max(0, completed - (server.calls - before))
    return Window(calls / took_s, cpu_s / calls * MICROSECONDS, refused / max(1, completed)) if calls else None
