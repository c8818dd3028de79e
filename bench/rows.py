"""Rows of the table: the servers measured side by side, with the command to start and the request to send."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from bench.workspace import GRPC_BODY, JSON_BODY, PATH, PROTO_BODY, own_key, request_metadata

SAMPLED_PERCENT = (0, 10, 100)


@dataclass(frozen=True, slots=True)
class Row:
    """One server of the table: `label` in the table, command, and request for h2load.

    In `command`, PORT is a placeholder for the port.
    """

    name: str
    label: str
    command: tuple[str, ...]
    path: str
    body: Path
    headers: tuple[str, ...]
    http1: bool = False


def all_rows() -> list[Row]:
    """Return the rows in the order of the table. Requires `bench.workspace.prepare`."""
    return [*_bare_rows(), *_other_stacks(), *_our_rows()]


def bare_native() -> Row:
    """Return the fastest available server, for measuring clients."""
    return _grpc("bare_native", "bare native engine, on our event loop", "bench.servers.bare", "native")


def _bare_rows() -> list[Row]:
    return [
        _grpc("bare_aio", "bare grpc.aio", "bench.servers.bare", "aio"),
        _grpc("bare_aio_service_loop", "bare grpc.aio, on our event loop", "bench.servers.bare", "service_loop"),
        _grpc("bare_sync", "bare grpcio, threads", "bench.servers.bare", "sync"),
        bare_native(),
    ]


def _other_stacks() -> list[Row]:
    bin_folder = Path(sys.executable).parent
    key = f"x-api-key: {own_key()}"
    pyvoy = (str(bin_folder / "pyvoy"), "--port=PORT", "bench.servers.connect_pyvoy:app")
    granian = ("--interface=asgi", "--http=2", "--no-ws", "--loop=uvloop", "--port=PORT")
    return [
        _grpc("naive", "naive stack on grpc.aio, 100 % traced", "bench.servers.naive"),
        _fastapi("fastapi", "FastAPI on uvicorn[standard], JSON", "--http=httptools", "--loop=uvloop"),
        _fastapi("fastapi_plain", "FastAPI on plain uvicorn, JSON", "--http=h11", "--loop=asyncio"),
        Row("connect_pyvoy", "connectrpc on pyvoy, gRPC", pyvoy, PATH, GRPC_BODY, _grpc_headers()),
        Row(
            name="connect_granian",
            label="connectrpc on granian, Connect over HTTP/2",
            command=(str(bin_folder / "granian"), *granian, "bench.servers.connect_granian:app"),
            path=PATH,
            body=PROTO_BODY,
            headers=("content-type: application/proto", "connect-protocol-version: 1", key),
        ),
    ]


def _fastapi(name: str, label: str, *options: str) -> Row:
    uvicorn = (sys.executable, "-m", "uvicorn", "--log-level=warning", "--no-access-log", "--port=PORT", *options)
    return Row(
        name=name,
        label=label,
        command=(*uvicorn, f"bench.servers.{name}:app"),
        path="/echo",
        body=JSON_BODY,
        headers=("content-type: application/json", f"x-api-key: {own_key()}"),
        http1=True,
    )


def our_row(engine: str, percent: int) -> Row:
    """Return our whole chain on an engine, with `percent` of the traces recorded."""
    return _ours(f"{engine}_{percent}", f"full chain on {engine}, {percent} % traced", engine, str(percent))


def _our_rows() -> list[Row]:
    rows = [our_row(engine, percent) for engine in ("grpcio", "native") for percent in SAMPLED_PERCENT]
    encoded = "full chain on native, 100 % traced and encoded as OTLP"
    return [*rows, _ours("native_100_otlp", encoded, "native", "100", "PORT", "otlp")]


def _ours(name: str, label: str, *arguments: str) -> Row:
    return _grpc(name, label, "bench.servers.ours", *arguments)


def _grpc(name: str, label: str, module: str, *arguments: str) -> Row:
    port = () if "PORT" in arguments else ("PORT",)
    command = (sys.executable, "-m", module, name, *arguments, *port)
    return Row(name, label, command, PATH, GRPC_BODY, _grpc_headers())


def _grpc_headers() -> tuple[str, ...]:
    """Return the headers of a call, which are the same for all gRPC rows."""
    metadata = (f"{name}: {value}" for name, value in request_metadata())
    return ("content-type: application/grpc", "te: trailers", "grpc-timeout: 2S", *metadata)
