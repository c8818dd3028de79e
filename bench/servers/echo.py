"""Echo handler of all gRPC rows, which also counts the calls."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from solo60.example.v1.echo_pb2 import EchoRequest, EchoResponse
from solo60.example.v1.echo_pb2_grpc import EchoServiceServicer

if TYPE_CHECKING:
    import grpc.aio

    from bench.tally import Tally
    from interceptors.chain.untyped import AnyContext


class _Echo(EchoServiceServicer):
    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    async def Echo(self, request: EchoRequest, context: AnyContext) -> EchoResponse:  # noqa: ARG002, N802 - as generated
        self._tally.add()
        return EchoResponse(text=request.text)


class _BlockingEcho(EchoServiceServicer):
    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    def Echo(self, request: EchoRequest, context: AnyContext) -> EchoResponse:  # noqa: ARG002, N802 - as generated
        self._tally.add()
        return EchoResponse(text=request.text)


def echo(tally: Tally) -> EchoServiceServicer:
    """Return the handler for servers with an event loop. Only `Echo` is implemented."""
    return _Echo(tally)  # type: ignore[abstract]  # no other method is called


def blocking_echo(tally: Tally) -> EchoServiceServicer:
    """Return the handler for servers with threads. Only `Echo` is implemented."""
    return _BlockingEcho(tally)  # type: ignore[abstract]  # likewise


async def serve_forever(server: grpc.aio.Server, port: int) -> None:
    """Serve at `port` on 127.0.0.1 until the process ends."""
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await asyncio.Event().wait()
