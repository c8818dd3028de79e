"""Server of bench/overload.py: an echo that takes 4 ms of processor time or of waiting, on its own core.

    python -m bench.overload_server ours cpu

The server prints its port and an API key. For each line of input, it then prints its memory in MiB, and the worst and
p99 lag of its event loop in ms since the previous line.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import grpc.aio
import psutil
from grpc_health.v1.health import aio as health
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server

from interceptors.chain.server import ServerChain
from interceptors.keys.keyring import Keyring, mint_key, record_of_key
from mesh.config import Settings
from mesh.serving.server import server_interceptors
from mesh.telemetry.setup import set_up_logging
from solo60.example.v1 import echo_pb2
from solo60.example.v1.echo_pb2_grpc import EchoServiceServicer, add_EchoServiceServicer_to_server

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from interceptors.chain.untyped import AnyContext, AnyMessage

COST_S = 0.004
LAG_PERIOD_S = 0.01
SERVER_CORE = 0
LOG = Path("build/overload.jsonl")


async def burn() -> None:
    """Use processor time, independent of other load on the machine."""
    began_s = time.thread_time()
    while time.thread_time() - began_s < COST_S:
        pass


def waiting() -> Callable[[], Awaitable[None]]:
    """Return a function that waits for the single connection to a slow database."""
    connection = asyncio.Lock()

    async def wait() -> None:
        async with connection:
            await asyncio.sleep(COST_S)

    return wait


class Costly(EchoServiceServicer):
    """Echo service with three methods of different criticality and equal cost."""

    def __init__(self, work: Callable[[], Awaitable[None]]) -> None:
        self._work = work

    async def Echo(self, request: AnyMessage, context: AnyContext) -> AnyMessage:  # noqa: ARG002, N802 - as generated
        await self._work()
        return echo_pb2.EchoResponse(text=request.text)

    async def EchoSheddable(self, request: AnyMessage, context: AnyContext) -> AnyMessage:  # noqa: ARG002, N802 - as generated
        await self._work()
        return echo_pb2.EchoSheddableResponse(text=request.text)

    async def EchoCritical(self, request: AnyMessage, context: AnyContext) -> AnyMessage:  # noqa: ARG002, N802 - as generated
        await self._work()
        return echo_pb2.EchoCriticalResponse(text=request.text)


async def sample_lag(lags_ms: list[float]) -> None:
    """Measure the lag of the event loop until cancelled."""
    while True:
        due_s = time.monotonic() + LAG_PERIOD_S
        await asyncio.sleep(LAG_PERIOD_S)
        lags_ms.append((time.monotonic() - due_s) * 1000)


async def serve(chain: str, work: str) -> None:
    settings = Settings(_env_file=None)  # type: ignore[call-arg]  # pydantic-settings' own argument
    key = mint_key("test")
    keyring = Keyring([record_of_key(key, "bench", ["example.echo"])])
    interceptors = [ServerChain(server_interceptors(settings, lambda: keyring))] if chain == "ours" else []
    server = grpc.aio.server(interceptors=interceptors, options=[("grpc.so_reuseport", 0)])
    add_EchoServiceServicer_to_server(Costly(burn if work == "cpu" else waiting()), server)  # type: ignore[abstract]  # the called methods exist
    add_HealthServicer_to_server(health.HealthServicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, key, file=sys.__stdout__, flush=True)
    lags_ms: list[float] = []
    sampling = asyncio.create_task(sample_lag(lags_ms))
    while await asyncio.to_thread(sys.stdin.readline):
        sample = sorted(lags_ms) or [0.0]
        mib = psutil.Process().memory_info().rss / 2**20
        print(f"{mib:.1f} {sample[-1]:.1f} {sample[int(len(sample) * 0.99)]:.1f}", file=sys.__stdout__, flush=True)
        lags_ms.clear()
    sampling.cancel()
    await server.stop(0)


if __name__ == "__main__":
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {SERVER_CORE})
    LOG.parent.mkdir(exist_ok=True)
    with LOG.open("w", encoding="utf-8") as sys.stdout:
        set_up_logging(Settings(_env_file=None), "bench")  # type: ignore[call-arg]  # as above
        asyncio.run(serve(*sys.argv[1:3]))
