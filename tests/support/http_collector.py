"""OTLP/HTTP collector that stores the received telemetry, like the one for gRPC.

with collecting_by_http() as collector:
    ...                                   # run a process with OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint
    await eventually(lambda: bool(collector.logs))
"""

from __future__ import annotations

import gzip
import threading
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import grpc

from tests.support.collector import HOST, LOGS, METRICS, RETRY_AFTER_MS, TRACES, Collector

if TYPE_CHECKING:
    from collections.abc import Iterator

KINDS = {f"/v1/{each.name}": each for each in (TRACES, METRICS, LOGS)}
PROTOBUF = "application/x-protobuf"


class _Handler(BaseHTTPRequestHandler):
    """Handler of one connection."""

    protocol_version = "HTTP/1.1"
    collector: Collector
    # Path of the base URL.
    prefix: str

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        kind = KINDS.get(self.path.removeprefix(self.prefix))
        if kind is None or self.headers["content-type"] != PROTOBUF:
            self._answer(HTTPStatus.NOT_FOUND)
            return
        status = self.collector.admit(kind, {name.lower(): value for name, value in self.headers.items()})
        if status is grpc.StatusCode.UNAVAILABLE:
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE)
        elif status is not None:
            self._answer(HTTPStatus.BAD_REQUEST)
        else:
            encoded = gzip.decompress(body) if self.headers["content-encoding"] == "gzip" else body
            self.collector.store(kind, kind.request.FromString(encoded))
            self._answer(HTTPStatus.OK, kind.answer.SerializeToString())

    def _answer(self, status: HTTPStatus, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("content-type", PROTOBUF)
        self.send_header("content-length", str(len(body)))
        if status is HTTPStatus.SERVICE_UNAVAILABLE:
            self.send_header("retry-after", str(RETRY_AFTER_MS / 1_000))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Log nothing."""


@contextmanager
def collecting_by_http(prefix: str = "") -> Iterator[Collector]:
    """Run a collector on a free port, with its base URL at the path `prefix`, while the context is open."""
    with ThreadingHTTPServer((HOST, 0), _Handler, bind_and_activate=False) as server:
        server.server_bind()
        collector = Collector(server.server_port)
        collector.is_open.set()
        server.RequestHandlerClass = type("Handler", (_Handler,), {"collector": collector, "prefix": prefix})
        server.server_activate()
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()
