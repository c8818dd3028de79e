"""Clients of the console's API: plain HTTP, and the client of the package connectrpc."""

from __future__ import annotations

import json
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any

from connectrpc.client import ConnectClientSync
from connectrpc.compat import google_protobuf_binary_codec, google_protobuf_json_codec
from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType

from contracts.method import Method, find_method
from local.keys import OPERATOR

if TYPE_CHECKING:
    from tests.support.local_mesh import LocalMesh

TIMEOUT_S = 30.0
JSON = {"content-type": "application/json"}
CODECS = {"json": google_protobuf_json_codec, "proto": google_protobuf_binary_codec}


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """Answer to a request. The names of headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.body)

    def detail(self, name: str) -> Any:
        """Return the JSON of the error's detail of this type, such as "BadRequest"."""
        [found] = [each["debug"] for each in self.json()["details"] if each["type"] == f"google.rpc.{name}"]
        return found


def operator_key(mesh: LocalMesh) -> str:
    """Return the operator's key of a mesh."""
    return mesh.settings.key_path_of(OPERATOR).read_text().strip()


def ask(address: str, path: str, body: bytes | str | None = None, *, verb: str = "", **headers: str) -> HttpAnswer:
    """Send one request to the console at `address`. In names of headers, "_" is "-"."""
    connection = HTTPConnection(address, timeout=TIMEOUT_S)
    try:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(verb or ("GET" if body is None else "POST"), path, body, sent)
        response = connection.getresponse()
        fields = {name.lower(): value for name, value in response.getheaders()}
        return HttpAnswer(response.status, fields, response.read())
    finally:
        connection.close()


def connect_client(address: str, codec: str) -> ConnectClientSync:
    """Return a client of connectrpc that sends "json" or "proto", compressed as it does by default."""
    return ConnectClientSync(f"http://{address}", codec=CODECS[codec](), timeout_ms=int(TIMEOUT_S * 1000))


def method_info(path: str) -> MethodInfo[Any, Any]:
    """Return connectrpc's description of a method, as its plugin would generate it."""
    method: Method = find_method(path)
    return MethodInfo(
        name=method.name,
        service_name=method.service,
        input=method.request_type,
        output=method.response_type,
        idempotency_level=IdempotencyLevel.NO_SIDE_EFFECTS,
        stream_type=StreamType.SERVER_STREAM if method.response_streaming else StreamType.UNARY,
    )
