"""Interceptor benchmark: processor time that each server interceptor adds to a call, in microseconds.

The benchmark runs without a network, in a process of its own. A chain of one interceptor serves a request's bytes to a
stand-in for gRPC's context, each call in a task as in a server. An empty chain is measured in turn, and the difference
is the interceptor's own cost. `python -m bench.policies ROUNDS CALLS PERCENT` prints JSON.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from contextlib import suppress
from statistics import median
from typing import TYPE_CHECKING, Any

import grpc.aio
import uvloop

from bench.driver_context import DriverContext
from bench.servers.echo import echo
from bench.spans import count_spans
from bench.tally import Tally, reset_tally
from bench.workspace import FOLDER, KEYRING, PATH, TEXT, request_metadata
from interceptors.chain.server import ServerChain
from mesh.config import load_settings
from mesh.serving.keyring_file import accepted_keys
from mesh.serving.server import server_interceptors
from mesh.telemetry.setup import set_up_logging, set_up_tracing
from solo60.example.v1.echo_pb2 import EchoRequest
from solo60.example.v1.echo_pb2_grpc import add_EchoServiceServicer_to_server

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from interceptors.chain.server import ServerInterceptor

    Serve = Callable[[bytes, DriverContext], Awaitable[bytes]]

NAME = "policies"
NONE = "none"
ALL = "all"
ATTEMPTS = 3


def main(rounds: int, calls: int, percent: float) -> None:
    reset_tally(NAME)
    settings = load_settings(keyring_file=KEYRING, trace_sample_ratio=percent / 100)
    figures = sys.stdout
    with (FOLDER / f"{NAME}.log").open("w", encoding="utf-8") as log:
        sys.stdout = log  # the access log is written to standard output, as in a service
        set_up_logging(settings, NAME)
        tracers = set_up_tracing(settings, NAME)
        count_spans(tracers)
        interceptors = server_interceptors(settings, accepted_keys(settings))
        costs = uvloop.run(measure(interceptors, rounds, calls))
        tracers.shutdown()
        sys.stdout = figures
    print(json.dumps(costs))


async def measure(interceptors: Sequence[ServerInterceptor], rounds: int, calls: int) -> dict[str, float]:
    """Return the microseconds per call of an empty chain, and those added by each interceptor and by all of them."""
    chains = {NONE: [], **{type(each).__name__: [each] for each in interceptors}, ALL: list(interceptors)}
    serving = {name: await compose(chain) for name, chain in chains.items()}
    samples: list[dict[str, float]] = []
    gc.collect()
    for _ in range(rounds * ATTEMPTS):
        # A busy machine may stall so long that calls are shed. Discard such a round.
        with suppress(grpc.aio.AbortError):
            samples.append({name: await time_of(serve, calls) for name, serve in serving.items()})
        if len(samples) == rounds:
            break
    else:
        sys.exit("The machine is too busy to measure: calls were shed. Stop other programs and try again.")
    # Compare each chain with the empty chain of the same round, because both ran under the same conditions.
    added = {name: median(each[name] - each[NONE] for each in samples) for name in serving if name != NONE}
    return {NONE: median(each[NONE] for each in samples), **added}


async def compose(chain: Sequence[ServerInterceptor]) -> Serve:
    """Return a function that serves the calls of the Echo method through `chain`."""
    registered = _Registered()
    add_EchoServiceServicer_to_server(echo(Tally(NAME)), registered)  # type: ignore[arg-type]  # no other method is called
    details: Any = _Details()
    handler = await ServerChain(chain).intercept_service(registered.find, details)
    assert handler is not None  # noqa: S101 - it is registered above
    return handler.unary_unary  # type: ignore[return-value]  # it is a coroutine function


async def time_of(serve: Serve, calls: int) -> float:
    """Return the processor time of one call in microseconds."""
    request, metadata = EchoRequest(text=TEXT).SerializeToString(), request_metadata()
    loop = asyncio.get_running_loop()
    began = time.thread_time_ns()
    for _ in range(calls):
        await loop.create_task(serve(request, DriverContext(metadata)))  # type: ignore[arg-type]  # it is a coroutine
    return (time.thread_time_ns() - began) / calls / 1000


class _Details:
    method = PATH
    invocation_metadata = ()


class _Registered:
    """Stand-in for a server, which stores the handlers that generated code registers."""

    def __init__(self) -> None:
        self._handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """Ignore the handlers: generated code registers them again in the other way."""

    def add_registered_method_handlers(
        self, service: str, handlers: dict[str, grpc.RpcMethodHandler[Any, Any]]
    ) -> None:
        """Store the handlers of a service."""
        self._handlers.update({f"/{service}/{name}": handler for name, handler in handlers.items()})

    async def find(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        """Return the handler of a method."""
        return self._handlers[details.method]


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
