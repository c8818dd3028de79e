"""Echo service as an ASGI application of the connectrpc package, with Google's protobuf messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from connectrpc.compat import google_protobuf_codecs
from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType
from connectrpc.server import ConnectASGIApplication, Endpoint

from bench.tally import Tally
from bench.workspace import PATH
from solo60.example.v1.echo_pb2 import EchoRequest, EchoResponse

if TYPE_CHECKING:
    from collections.abc import Mapping

_SERVICE, _METHOD = PATH.strip("/").split("/")
ECHO = MethodInfo(
    name=_METHOD,
    service_name=_SERVICE,
    input=EchoRequest,
    output=EchoResponse,
    idempotency_level=IdempotencyLevel.UNKNOWN,
    stream_type=StreamType.UNARY,
)


class Echo:
    """Handler of the echo service."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    async def echo(self, request: EchoRequest, _context: object) -> EchoResponse:
        """Return the text of the request."""
        self._tally.add()
        return EchoResponse(text=request.text)


class Application(ConnectASGIApplication[Echo]):
    """ASGI application of the service, as connectrpc's plugin would generate it."""

    def __init__(self, name: str) -> None:
        super().__init__(service=Echo(Tally(name)), endpoints=_endpoints, codecs=google_protobuf_codecs())

    @property
    def path(self) -> str:
        """Path of the service."""
        return f"/{_SERVICE}"


def _endpoints(service: Echo) -> Mapping[str, Any]:
    return {PATH: Endpoint.unary(ECHO, service.echo)}
