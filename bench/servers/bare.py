"""Bare servers: the handler without any interceptor.

`python -m bench.servers.bare NAME aio|service_loop|sync|native PORT`
"""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor

import grpc
import grpc.aio
import pygrpc_native.aio

from bench.servers.echo import blocking_echo, echo, serve_forever
from bench.tally import Tally
from mesh.serving.event_loop import service_loop
from mesh.serving.huge_pages import use_huge_pages
from solo60.example.v1.echo_pb2_grpc import add_EchoServiceServicer_to_server

# As in gRPC's own examples.
THREADS = 10


def main(name: str, kind: str, port: int) -> None:
    tally = Tally(name)
    if kind == "sync":
        serve_with_threads(tally, port)
    elif kind == "aio":
        asyncio.run(serve(tally, port, native=False))
    else:
        use_huge_pages()
        with service_loop() as runner:
            runner.run(serve(tally, port, native=kind == "native"))


def serve_with_threads(tally: Tally, port: int) -> None:
    server = grpc.server(ThreadPoolExecutor(THREADS))
    add_EchoServiceServicer_to_server(blocking_echo(tally), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    server.wait_for_termination()


async def serve(tally: Tally, port: int, *, native: bool) -> None:
    server = pygrpc_native.aio.server() if native else grpc.aio.server()
    add_EchoServiceServicer_to_server(echo(tally), server)
    await serve_forever(server, port)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
