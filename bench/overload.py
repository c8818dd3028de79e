"""Overload benchmark: calls answered in time at up to four times the server's capacity.

    python -m bench.overload [--quick]

The load is open-loop: calls start at random times at a given mean rate, independent of earlier calls. The benchmark
compares a bare grpc.aio server with the whole chain. Writes build/overload.json: calls per second, milliseconds, MiB.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_health.v1.health_pb2_grpc import HealthStub
from rich.console import Console
from rich.table import Table

from interceptors.deadline.interceptor import TIMEOUT_MS
from interceptors.keys.interceptor import API_KEY
from mesh.connection import connection_options
from solo60.example.v1 import echo_pb2
from solo60.example.v1.echo_pb2_grpc import EchoServiceStub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from solo60.example.v1.echo_pb2_grpc import EchoServiceAsyncStub

OUTPUT = Path("build/overload.json")
CLIENT_CORE = 1
DEADLINE_S = 0.25
CONNECTIONS = 8
STEP_S, QUICK_STEP_S = 60.0, 5.0
LOADS = (0.5, 1.0, 2.0, 4.0)
ALL = ("Echo",)
MIXED = ("EchoSheddable", "Echo", "EchoCritical")
REQUESTS = {
    "Echo": echo_pb2.EchoRequest(text="hi"),
    "EchoSheddable": echo_pb2.EchoSheddableRequest(text="hi"),
    "EchoCritical": echo_pb2.EchoCriticalRequest(text="hi"),
}


@dataclass
class Step:
    """Outcomes of the calls in one step."""

    seconds: float
    sent: Counter[str] = field(default_factory=Counter)
    ok: Counter[str] = field(default_factory=Counter)
    other: Counter[str] = field(default_factory=Counter)
    ok_ms: list[float] = field(default_factory=list)
    refused_ms: list[float] = field(default_factory=list)
    health_ms: list[float] = field(default_factory=list)
    server: list[float] = field(default_factory=list)

    def figures(self) -> dict[str, Any]:
        """Return the figures of the step, as written to the file."""
        return {
            "sent_per_s": self.sent.total() / self.seconds,
            "goodput_per_s": self.ok.total() / self.seconds,
            "ok_p50_ms": quantile(self.ok_ms, 0.5),
            "ok_p99_ms": quantile(self.ok_ms, 0.99),
            "refused_p99_ms": quantile(self.refused_ms, 0.99),
            "health_worst_ms": max(self.health_ms, default=0.0),
            "ok_share": {name: self.ok[name] / sent for name, sent in self.sent.items()},
            "other": dict(self.other),
            "server_mib_worst_and_p99_lag_ms": self.server,
        }


def quantile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


class Server:
    """Running server process: its port, its API key and its state."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.port, self.key = self._line().split()

    def _line(self) -> str:
        assert self._process.stdout is not None  # noqa: S101 - `server` opens the pipe
        return self._process.stdout.readline()

    def state(self) -> list[float]:
        """Return the memory of the server in MiB, and its worst and p99 lag in ms since the previous call."""
        assert self._process.stdin is not None  # noqa: S101 - `server` opens the pipe
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return [float(part) for part in self._line().split()]


@contextmanager
def server(chain: str, work: str) -> Iterator[Server]:
    command = [sys.executable, "-m", "bench.overload_server", chain, work]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Server(process)
        finally:
            process.kill()


@asynccontextmanager
async def stubs(target: Server) -> AsyncIterator[list[Any]]:
    """Open several connections, as a service has several callers."""
    channels = [grpc.aio.insecure_channel(f"127.0.0.1:{target.port}", connection_options()) for _ in range(CONNECTIONS)]
    await asyncio.gather(*(channel.channel_ready() for channel in channels))
    yield [EchoServiceStub(channel) for channel in channels]
    for channel in channels:
        await channel.close()


async def call(stub: EchoServiceAsyncStub, name: str, key: str, step: Step) -> None:
    """Make one call like our clients, but at less cost, and count its outcome."""
    step.sent[name] += 1
    metadata = ((API_KEY, key), (TIMEOUT_MS, f"{DEADLINE_S * 1000:.0f}"))
    began_s = time.monotonic()
    try:
        await getattr(stub, name)(REQUESTS[name], timeout=DEADLINE_S, metadata=metadata)
    except grpc.aio.AioRpcError as error:
        step.other[error.code().name] += 1
        if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
            step.refused_ms.append((time.monotonic() - began_s) * 1000)
    else:
        step.ok[name] += 1
        step.ok_ms.append((time.monotonic() - began_s) * 1000)


async def watch_health(port: str, step: Step) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", connection_options()) as own:
        check: Any = HealthStub(own).Check  # type: ignore[attr-defined]  # its type stubs declare no attributes
        while True:
            began_s = time.monotonic()
            await check(HealthCheckRequest())
            step.health_ms.append((time.monotonic() - began_s) * 1000)
            await asyncio.sleep(0.1)


async def send_load(target: Server, rate: float, seconds: float, names: Sequence[str] = ALL) -> Step:
    """Send calls for `seconds` at a mean rate of `rate` per second."""
    rng, step, calls = random.Random(1), Step(seconds), set[asyncio.Task[None]]()  # noqa: S311 - a load
    target.state()
    async with stubs(target) as callers:
        watching = asyncio.create_task(watch_health(target.port, step))
        began_s = due_s = time.monotonic()
        while due_s < began_s + seconds:
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            task = asyncio.create_task(call(rng.choice(callers), rng.choice(names), target.key, step))
            calls.add(task)
            task.add_done_callback(calls.discard)
            due_s += rng.expovariate(rate)
        await asyncio.gather(*calls)
        watching.cancel()
    step.server = target.state()
    return step


async def capacity(target: Server, seconds: float) -> float:
    """Return the successful calls per second of four callers, each waiting for its response."""
    step = Step(seconds)
    async with stubs(target) as callers:
        ends_s = time.monotonic() + seconds

        async def loop(stub: EchoServiceAsyncStub) -> None:
            while time.monotonic() < ends_s:
                await call(stub, "Echo", target.key, step)

        await asyncio.gather(*map(loop, callers[:4]))
    return step.ok.total() / seconds


def main(*, quick: bool) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {CLIENT_CORE % (os.cpu_count() or 1)})
    seconds = QUICK_STEP_S if quick else STEP_S
    results = {
        f"{chain}, {work}": measure(chain, work, seconds) for work in ("cpu", "wait") for chain in ("bare", "ours")
    }
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    show(results)


def measure(chain: str, work: str, seconds: float) -> dict[str, Any]:
    """Measure one kind of server: capacity, each load, recovery, and mixed criticalities."""
    with server(chain, work) as target:
        peak = asyncio.run(capacity(target, seconds / 2))
        steps: dict[str, Any] = {"capacity": peak}
        for load in LOADS:
            steps[f"{load:g}x"] = asyncio.run(send_load(target, load * peak, seconds)).figures()
        after = asyncio.run(send_load(target, 0.5 * peak, seconds / 2))
        steps["0.5x after"] = after.figures()
        steps["2x mixed"] = asyncio.run(send_load(target, 2 * peak, seconds, MIXED)).figures()
    return steps


def show(results: dict[str, dict[str, Any]]) -> None:
    """Print the figures as a table."""
    table = Table(title=f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, deadline {DEADLINE_S * 1000:.0f} ms")
    columns = ("server", "load", "sent/s", "in time/s", "of capacity", "p50", "p99", "refused p99", "health", "state")
    for column in columns:
        table.add_column(column, justify="right")
    for name, steps in results.items():
        for load, step in steps.items():
            if load == "capacity":
                continue
            times = [f"{step[key]:.0f} ms" for key in ("ok_p50_ms", "ok_p99_ms", "refused_p99_ms", "health_worst_ms")]
            share = f"{step['goodput_per_s'] / steps['capacity']:.0%}"
            state = " ".join(f"{number:.0f}" for number in step["server_mib_worst_and_p99_lag_ms"])
            table.add_row(name, load, f"{step['sent_per_s']:.0f}", f"{step['goodput_per_s']:.0f}", share, *times, state)
        print(name, "share of calls answered at 2x mixed:", steps["2x mixed"]["ok_share"])
    Console(width=140).print(table)


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
