"""Echo service with the whole mesh runtime, and calls to it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub

from interceptors.keys.keyring import mint_key
from mesh.serving.service import Service
from solo60.example.v1 import echo_pb2
from solo60.example.v1.echo_pb2_grpc import EchoServiceStub, add_EchoServiceServicer_to_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from grpc_interceptor import AsyncServerInterceptor

    from mesh.serving.server import MeshServer
    from mesh.serving.service import Runtime
    from tests.support.echo import EchoServicer

HI = echo_pb2.EchoRequest(text="hi")
CHECK = health_pb2.HealthCheckRequest(service="solo60.example.v1.EchoService")
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
KEY = mint_key("test")
METADATA = (("x-api-key", KEY),)


def echo_service(servicer: EchoServicer, *interceptors: AsyncServerInterceptor) -> Service:
    """Make a service from the echo servicer."""

    @asynccontextmanager
    async def open_echo(_runtime: Runtime) -> AsyncIterator[EchoServicer]:
        yield servicer

    descriptor = echo_pb2.DESCRIPTOR.services_by_name["EchoService"]
    return Service("echo", descriptor, add_EchoServiceServicer_to_server, open_echo, Path(), interceptors)


@asynccontextmanager
async def connected(server: MeshServer) -> AsyncIterator[grpc.aio.Channel]:
    """Open a channel that adds no metadata."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield channel


def health_of(channel: grpc.aio.Channel) -> Any:
    """Return a stub of grpc.health.v1."""
    return HealthStub(channel)


async def echo_hi(channel: grpc.aio.Channel) -> echo_pb2.EchoResponse:
    """Call Echo with the valid key."""
    return await EchoServiceStub(channel).Echo(HI, metadata=METADATA)


async def refusal_of(call: Awaitable[object]) -> grpc.aio.AioRpcError | None:
    """Return the error of a call, or None if the call succeeds."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error
    return None
