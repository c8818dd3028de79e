"""Client benchmark: a plain generated stub, a stub with the whole client chain, and two clients on Rust.

10 % of the traces are recorded. All clients run in turn in one process, with the same number of calls in flight. They
call the fastest available server, which runs on another core. `python -m bench.client PORT ROUNDS SECONDS` prints the
figures of each round as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import TYPE_CHECKING, Protocol

import grpc.aio

from bench.programs import HOST
from bench.rust_clients import ConnectrpcCaller, PyqwestCaller, http2_transport
from bench.spans import count_spans
from bench.workspace import TEXT, own_key
from contracts.method import service_of_stub
from contracts.service_config import service_config
from interceptors.chain.channel import ChainedChannel
from mesh.config import load_settings
from mesh.connection import connection_options
from mesh.serving.channel import channel_options, client_interceptors
from mesh.serving.event_loop import service_loop
from mesh.serving.huge_pages import use_huge_pages
from mesh.telemetry.setup import set_up_logging, set_up_tracing
from solo60.example.v1.echo_pb2 import EchoRequest
from solo60.example.v1.echo_pb2_grpc import EchoServiceStub

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping

    from solo60.example.v1.echo_pb2 import EchoResponse


SAMPLED = 0.1
CONCURRENT_CALLS = 20
TIMEOUT_S = 2.0
MICROSECONDS = 1e6


class Caller(Protocol):
    """Client of the echo service, called as a generated stub is."""

    def Echo(self, request: EchoRequest, *, timeout: float) -> Awaitable[EchoResponse]: ...  # noqa: N802 - as generated


async def measure(port: int, rounds: int, seconds: float) -> list[dict[str, float]]:
    """Return for each round the calls per second and the processor time per call of each client."""
    address = f"{HOST}:{port}"
    async with (
        grpc.aio.insecure_channel(address, connection_options()) as bare,
        chain_channel(address) as chained,
        http2_transport() as transport,
    ):
        clients: dict[str, Caller] = {
            "stub": EchoServiceStub(bare),
            "chain": EchoServiceStub(chained),
            "connectrpc": ConnectrpcCaller(transport, address),
            "pyqwest": PyqwestCaller(transport, address),
        }
        for client in clients.values():
            await drive(client, seconds / 4)
        return [await _round(clients, seconds) for _ in range(rounds)]


async def _round(clients: Mapping[str, Caller], seconds: float) -> dict[str, float]:
    figures = {}
    for name, client in clients.items():
        figures[f"{name}_rps"], figures[f"{name}_cpu_us"] = await drive(client, seconds)
    return figures


def chain_channel(address: str) -> grpc.aio.Channel:
    """Open a channel with the client chain of mesh.serving.channel."""
    settings = load_settings(trace_sample_ratio=SAMPLED)
    set_up_logging(settings, "bench-client")
    count_spans(set_up_tracing(settings, "bench-client"))
    key = own_key()
    options = channel_options(service_config(service_of_stub(EchoServiceStub)))
    return ChainedChannel(
        grpc.aio.insecure_channel(address, options=options), client_interceptors(settings, lambda: key)
    )


async def drive(client: Caller, seconds: float) -> tuple[float, float]:
    """Call for `seconds`; return the calls per second and the processor time per call in microseconds."""
    began, cpu_s = time.perf_counter(), time.process_time()
    ends = began + seconds
    calls = sum(await asyncio.gather(*[_call_until(client, ends) for _ in range(CONCURRENT_CALLS)]))
    return calls / (time.perf_counter() - began), (time.process_time() - cpu_s) / calls * MICROSECONDS


async def _call_until(client: Caller, ends: float) -> int:
    request, calls = EchoRequest(text=TEXT), 0
    while time.perf_counter() < ends:
        answer = await client.Echo(request, timeout=TIMEOUT_S)
        assert answer.text == TEXT  # noqa: S101 - wrong responses would invalidate the figures
        calls += 1
    return calls


if __name__ == "__main__":
    use_huge_pages()
    with service_loop() as runner:
        print(json.dumps(runner.run(measure(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))))
