"""Echo server of grpc.aio with given interceptors alone."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import grpc.aio

from solo60.example.v1.echo_pb2_grpc import EchoServiceStub, add_EchoServiceServicer_to_server
from tests.support.echo import EchoServicer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from solo60.example.v1.echo_pb2_grpc import EchoServiceAsyncStub


@asynccontextmanager
async def serving(
    *interceptors: grpc.aio.ServerInterceptor, servicer: EchoServicer | None = None
) -> AsyncIterator[EchoServiceAsyncStub]:
    """Serve the echo service with these interceptors, and return a stub without any."""
    server = grpc.aio.server(interceptors=interceptors)
    add_EchoServiceServicer_to_server(servicer or EchoServicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield EchoServiceStub(channel)
    await server.stop(0)
