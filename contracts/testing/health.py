"""Health of a fake server, which real channels watch: always SERVING."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    Context = grpc.aio.ServicerContext[Any, Any]

_SERVING = health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)
_NAME = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name


async def _check(_request: bytes, _context: Context) -> bytes:
    return _SERVING.SerializeToString()


async def _watch(_request: bytes, _context: Context) -> AsyncIterator[bytes]:
    yield _SERVING.SerializeToString()
    await asyncio.Event().wait()


def health_handler(path: str) -> grpc.RpcMethodHandler[Any, Any] | None:
    """Return the handler of a method of the health service; None for any other path."""
    return {
        f"/{_NAME}/Check": grpc.unary_unary_rpc_method_handler(_check),
        f"/{_NAME}/Watch": grpc.unary_stream_rpc_method_handler(_watch),
    }.get(path)
