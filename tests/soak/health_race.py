"""Reproducer of a crash of grpcio that our channel options avoid: channels that watch the health of servers.

    python -m tests.soak.health_race SECONDS [--shared]

Each of twenty servers has two channels. A server closes its connections after 50 ms, so its two channels restart their
health watches at the same moment. With `--shared` the channels also share subchannels, which is gRPC's default. Then
grpcio 1.62 to 1.85.3 dies of SIGSEGV within a minute. Without a crash the program prints "survived" and exits with 0.
"""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from contracts.service_config import service_config
from contracts.services import SERVICES
from mesh.serving.channel import channel_options

SERVERS = 20
CHANNELS_OF_EACH = 2
POOL_OPTION = "grpc.use_local_subchannel_pool"
# The servers do not implement health checking, so gRPC's core would print a line for each connection.
QUIET = {"GRPC_VERBOSITY": "NONE"}
CONNECTION_AGE = [("grpc.max_connection_age_ms", 50), ("grpc.max_connection_age_grace_ms", 1)]


def main(seconds: float, *, shared: bool) -> None:
    """Watch for `seconds`, then exit without closing servers and channels, because closing takes long."""
    options: list[tuple[str, Any]] = channel_options(service_config(SERVICES["gym"]))
    if shared:
        options = [option for option in options if option[0] != POOL_OPTION]
    running = []
    for _ in range(SERVERS):
        server = grpc.server(ThreadPoolExecutor(1), options=CONNECTION_AGE)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        channels = [grpc.insecure_channel(f"127.0.0.1:{port}", options) for _ in range(CHANNELS_OF_EACH)]
        for channel in channels:
            channel.subscribe(lambda _state: None, try_to_connect=True)
        running.append((server, channels))
    time.sleep(seconds)
    sys.stdout.write("survived\n")
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main(float(sys.argv[1]), shared="--shared" in sys.argv)
