"""Place: the folder in which a run of the benchmarks keeps what it makes, and the one request that all rows answer."""

from __future__ import annotations

import json
import struct
from pathlib import Path

from interceptors.keyring import mint_key, record_of_key
from mesh.keyring import format_keyring
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
PATH = "/solo60.example.v1.EchoService/Echo"


def prepare() -> None:
    """Write the request in each of its forms, a fresh API key, and the keyring that knows it."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    message = EchoRequest(text=TEXT).SerializeToString()
    # A gRPC message on the wire: not compressed, its length, itself.
    GRPC_BODY.write_bytes(struct.pack(">BI", 0, len(message)) + message)
    PROTO_BODY.write_bytes(message)
    JSON_BODY.write_text(json.dumps({"text": TEXT}), encoding="utf-8")
    key = mint_key("bench")
    KEY.write_text(key, encoding="utf-8")
    KEYRING.write_text(format_keyring([record_of_key(key, CALLER, SCOPES)]), encoding="utf-8")


def own_key() -> str:
    """Return the key that the callers of this run send."""
    return KEY.read_text(encoding="utf-8")


def request_metadata() -> tuple[tuple[str, str], ...]:
    """Return what our own client sends with each call, but for the trace: so the server chooses what is traced."""
    return (
        ("x-timeout-ms", "2000"),
        ("x-correlation-id", "0123456789abcdef0123456789abcdef"),
        ("x-api-key", own_key()),
    )
