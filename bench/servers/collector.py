"""Collector that parses requests with spans, and counts the spans.

`python -m bench.servers.collector NAME PORT`
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)

from bench.tally import Tally

if TYPE_CHECKING:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class _Servicer(TraceServiceServicer):
    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    def Export(  # noqa: N802 - as generated
        self,
        request: ExportTraceServiceRequest,
        context: grpc.ServicerContext,  # noqa: ARG002 - as generated
    ) -> ExportTraceServiceResponse:
        for group in request.resource_spans:
            for scope in group.scope_spans:
                for _ in scope.spans:
                    self._tally.add()
        return ExportTraceServiceResponse()


def main(name: str, port: int) -> None:
    server = grpc.server(ThreadPoolExecutor(1))
    add_TraceServiceServicer_to_server(_Servicer(Tally(name)), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
