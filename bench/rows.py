"""Rows of the table: the servers measured side by side, with the command to start and the request to send."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.workspace import GRPC_BODY, JSON_BODY, PATH, PROTO_BODY, own_key, request_metadata

SAMPLED_PERCENT = (0, 10, 100)
ENGINES = ("grpcio", "native")


@dataclass(frozen=True, slots=True)
class Row:
    """One server of the table: `label` in the table, command, and request for h2load.

    In `command`, PORT is a placeholder for the port. The command runs in `folder`, which has the sources of one commit.
    With `exports_spans`, the server sends its spans to a collector.
    """

    name: str
    label: str
    command: tuple[str, ...]
    path: str
    body: Path
    headers: tuple[str, ...]
    http1: bool = False
    folder: Path = field(default_factory=Path.cwd)
    exports_spans: bool = False


def all_rows() -> list[Row]:
    """Return the rows in the order of the table. Requires `bench.workspace.prepare`."""
    return [*_bare_rows(), *_other_stacks(), *our_rows()]


def bare_native() -> Row:
    """Return the fastest available server, for measuring clients."""
    return _grpc("bare_native", "bare native engine, run like a service", "bench.servers.bare", "native")


def _bare_rows() -> list[Row]:
    return [
        _grpc("bare_aio", "bare grpc.aio", "bench.servers.bare", "aio"),
        _grpc("bare_aio_service_loop", "bare grpc.aio, run like a service", "bench.servers.bare", "service_loop"),
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
    return _ours(f"{engine}_{percent}", f"full chain on {engine}, {percent} % traced", engine, percent)


def timed_row(engine: str, percent: int) -> Row:
    """Return our whole chain with a clock around each interceptor."""
    label = f"{engine}, {percent} % traced"
    return _grpc(f"{engine}_{percent}_timed", label, "bench.servers.timed", engine, str(percent))


def our_exporting_row(engine: str) -> Row:
    """Return our whole chain on an engine, with all traces recorded and sent to a collector."""
    label = f"full chain on {engine}, 100 % traced and sent by OTLP"
    return replace(_ours(f"{engine}_100_otlp", label, engine, 100), exports_spans=True)


def our_rows() -> list[Row]:
    """Return our whole chain on both engines. Requires `bench.workspace.prepare`."""
    return [
        row
        for engine in ENGINES
        for row in (*(our_row(engine, percent) for percent in SAMPLED_PERCENT), our_exporting_row(engine))
    ]


def _ours(name: str, label: str, engine: str, percent: int) -> Row:
    return _grpc(name, label, "bench.servers.ours", engine, str(percent))


def _grpc(name: str, label: str, module: str, *arguments: str) -> Row:
    command = (sys.executable, "-m", module, name, *arguments, "PORT")
    return Row(name, label, command, PATH, GRPC_BODY, _grpc_headers())


def _grpc_headers() -> tuple[str, ...]:
    """Return the headers of a call, which are the same for all gRPC rows."""
    metadata = (f"{name}: {value}" for name, value in request_metadata())
    return ("content-type: application/grpc", "te: trailers", "grpc-timeout: 2S", *metadata)
