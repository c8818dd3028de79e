"""Working folder of a benchmark run, and the request that all rows answer."""

from __future__ import annotations

import json
import struct
from pathlib import Path

from interceptors.keys.keyring import mint_key, record_of_key
from mesh.serving.keyring_file import format_keyring
from solo60.example.v1.echo_pb2 import EchoRequest

FOLDER = Path("build/bench")
KEYRING = FOLDER / "keyring.json"
KEY = FOLDER / "key"
GRPC_BODY = FOLDER / "request.grpc"
PROTO_BODY = FOLDER / "request.proto"
JSON_BODY = FOLDER / "request.json"

CALLER = "bench"
SCOPES = ("example.echo",)
TEXT = "hello from the other core"
FRAME = struct.Struct(">BI")
PATH = "/solo60.example.v1.EchoService/Echo"


def prepare() -> None:
    """Write the request in each encoding, a new API key, and a keyring with that key."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    message = EchoRequest(text=TEXT).SerializeToString()
    GRPC_BODY.write_bytes(framed(message))
    PROTO_BODY.write_bytes(message)
    JSON_BODY.write_text(json.dumps({"text": TEXT}), encoding="utf-8")
    key = mint_key("bench")
    KEY.write_text(key, encoding="utf-8")
    KEYRING.write_text(format_keyring([record_of_key(key, CALLER, SCOPES)]), encoding="utf-8")


def framed(message: bytes) -> bytes:
    """Return a gRPC message on the wire: a flag for no compression, its length, then the message."""
    return FRAME.pack(0, len(message)) + message


def times_path_of(name: str) -> Path:
    """Return the file to which the server `name` of bench.servers.timed writes."""
    return FOLDER / f"{name}.times.json"


def own_key() -> str:
    """Return the API key of this run's callers."""
    return KEY.read_text(encoding="utf-8")


def request_metadata() -> tuple[tuple[str, str], ...]:
    """Return the metadata that our client sends with each call.

    The trace is omitted, so that the server decides which calls are traced.
    """
    return (
        ("x-timeout-ms", "2000"),
        ("x-correlation-id", "0123456789abcdef0123456789abcdef"),
        ("x-api-key", own_key()),
    )
