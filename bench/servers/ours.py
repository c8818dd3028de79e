"""Our server with the whole chain, as in a service.

`python -m bench.servers.ours NAME grpcio|native PERCENT PORT`. PERCENT is the percentage of traces that are recorded.
The access log is written to standard output, as in a service. With OTEL_EXPORTER_OTLP_ENDPOINT, the service's own
exporter sends the spans there. Otherwise they are only counted.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from bench.servers.echo import echo, serve_forever
from bench.spans import count_spans
from bench.tally import Tally
from bench.workspace import KEYRING
from mesh.config import load_settings
from mesh.serving.engine import new_server
from mesh.serving.event_loop import service_loop
from mesh.serving.huge_pages import use_huge_pages
from mesh.serving.keyring_file import accepted_keys
from mesh.serving.server import server_interceptors
from mesh.telemetry.setup import set_up_logging, set_up_tracing
from solo60.example.v1.echo_pb2_grpc import add_EchoServiceServicer_to_server

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from interceptors import ServerInterceptor
    from mesh.config import Settings


def main(
    name: str,
    engine: str,
    percent: float,
    port: int,
    interceptors: Callable[..., Sequence[ServerInterceptor]] = server_interceptors,
) -> None:
    """Serve until the process ends, with the interceptors that the given function returns."""
    settings = load_settings(keyring_file=KEYRING, engine=engine, trace_sample_ratio=percent / 100)
    set_up_logging(settings, name)
    tracers = set_up_tracing(settings, name)
    if settings.collector_of("traces") is None:
        count_spans(tracers)
    use_huge_pages()
    with service_loop() as runner:
        runner.run(serve(name, settings, port, interceptors(settings, accepted_keys(settings))))


async def serve(name: str, settings: Settings, port: int, interceptors: Sequence[ServerInterceptor]) -> None:
    server = new_server(settings.engine, interceptors)
    add_EchoServiceServicer_to_server(echo(Tally(name)), server)
    await serve_forever(server, port)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4]))
