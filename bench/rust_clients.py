"""Clients of the echo service on pyqwest, an HTTP client in Rust: connectrpc's gRPC client, and gRPC by hand.

Neither has any policy. The second one shows how fast pyqwest is without connectrpc.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from connectrpc.client import ConnectClient
from connectrpc.compat import google_protobuf_codecs
from connectrpc.protocol import ProtocolType
from pyqwest import Client, HTTPTransport, HTTPVersion

from bench.servers.connect import ECHO
from bench.workspace import FRAME, PATH, framed
from solo60.example.v1.echo_pb2 import EchoResponse

if TYPE_CHECKING:
    from solo60.example.v1.echo_pb2 import EchoRequest

MILLISECONDS = 1000
OK = "0"


def http2_transport() -> HTTPTransport:
    """Return pyqwest's connection pool for HTTP/2 without TLS, and without its own traces."""
    return HTTPTransport(http_version=HTTPVersion.HTTP2, enable_otel=False)


class ConnectrpcCaller:
    """Client of the connectrpc package, with Google's messages and without compression, like a plain stub."""

    def __init__(self, transport: HTTPTransport, address: str) -> None:
        self._client = ConnectClient(
            f"http://{address}",
            codec=google_protobuf_codecs()[0],
            protocol=ProtocolType.GRPC,
            accept_compression=(),
            send_compression=None,
            http_client=Client(transport),
        )

    async def Echo(self, request: EchoRequest, *, timeout: float) -> EchoResponse:  # noqa: ASYNC109, N802 - as generated
        return await self._client.execute_unary(request=request, method=ECHO, timeout_ms=int(timeout * MILLISECONDS))


class PyqwestCaller:
    """Client that frames gRPC messages itself, and does no more than a unary call needs."""

    def __init__(self, transport: HTTPTransport, address: str) -> None:
        self._client = Client(transport)
        self._url = f"http://{address}{PATH}"

    async def Echo(self, request: EchoRequest, *, timeout: float) -> EchoResponse:  # noqa: ASYNC109, N802 - as generated
        headers = {
            "content-type": "application/grpc",
            "te": "trailers",
            "grpc-timeout": f"{int(timeout * MILLISECONDS)}m",
        }
        answer = await self._client.post(self._url, headers, framed(request.SerializeToString()))
        assert answer.trailers["grpc-status"] == OK  # noqa: S101 - errors would invalidate the figures
        return EchoResponse.FromString(bytes(answer.content)[FRAME.size :])
