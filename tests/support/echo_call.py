"""Helper for the examples in the interceptors' docstrings, which run as doctests.

>>> call_echo(ServerValidation(), text="")
'INVALID_REQUEST'
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from contracts.errors import ServiceError
from contracts.method import find_method
from interceptors.chain.channel import ChainedChannel
from solo60.example.v1.echo_pb2_grpc import EchoServiceServicer, add_EchoServiceServicer_to_server

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from interceptors.chain.client import ClientInterceptor

SERVICE = "/solo60.example.v1.EchoService/"


class PlainEchoServicer(EchoServiceServicer):
    """Echo servicer without any code of the mesh, which raises ValueError for the text "crash"."""

    async def Echo(self, request: Any, context: Any) -> Any:
        """Return the text of the request."""
        if request.text == "crash":
            raise ValueError("postgres://user:secret@host")
        return find_method(SERVICE + "Echo").response_type(text=request.text)

    async def EchoLimited(self, request: Any, context: Any) -> Any:
        """Return the text of the request."""
        return find_method(SERVICE + "EchoLimited").response_type(text=request.text)

    async def EchoDeprecated(self, request: Any, context: Any) -> Any:
        """Return the text of the request."""
        return find_method(SERVICE + "EchoDeprecated").response_type(text=request.text)

    async def Keep(self, request: Any, context: Any) -> Any:
        """Return an empty response."""
        return find_method(SERVICE + "Keep").response_type()


def call_echo(
    *interceptors: grpc.aio.ServerInterceptor,
    method: str = "Echo",
    text: str = "hi",
    metadata: Mapping[str, str] | None = None,
    timeout_s: float | None = None,
    clients: Sequence[ClientInterceptor] = (),
) -> str:
    """Serve `PlainEchoServicer` with these interceptors, call it once, and return the text or the error's reason."""
    return asyncio.run(
        _call_echo(interceptors, find_method(SERVICE + method), text, metadata or {}, timeout_s, clients)
    )


async def _call_echo(
    interceptors: Sequence[grpc.aio.ServerInterceptor],
    method: Any,
    text: str,
    metadata: Mapping[str, str],
    timeout_s: float | None,
    clients: Sequence[ClientInterceptor],
) -> str:
    server = grpc.aio.server(interceptors=interceptors)
    add_EchoServiceServicer_to_server(PlainEchoServicer(), server)  # type: ignore[abstract]  # the examples need no other method
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with ChainedChannel(grpc.aio.insecure_channel(f"127.0.0.1:{port}"), clients) as channel:
        call = channel.unary_unary(method.path, method.request_type.SerializeToString, method.response_type.FromString)
        try:
            answer = await call(method.request_type(text=text), metadata=tuple(metadata.items()), timeout=timeout_s)
        except ServiceError as error:
            return error.reason_name() or error.code.name
        finally:
            await server.stop(0)
    return getattr(answer, "text", "")
