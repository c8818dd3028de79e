"""The crash of grpcio that our channel options avoid, as a program: channels that watch the health of servers.

    python -m tests.soak.health_race SECONDS [--shared]

Two channels lead to each of twenty servers. Each server ends its connections after 50 ms, so both channels begin to
watch its health anew at the same moment. With `--shared` they also share their subchannels, as channels of gRPC do by
default: then grpcio 1.62 to 1.85.3 dies of SIGSEGV within a minute. The program prints "survived" and exits with 0.
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
from mesh.channel import channel_options

SERVERS = 20
CHANNELS_OF_EACH = 2
POOL_OPTION = "grpc.use_local_subchannel_pool"
# The servers know no health checking, and for each connection the core would print so.
QUIET = {"GRPC_VERBOSITY": "NONE"}
CONNECTION_AGE = [("grpc.max_connection_age_ms", 50), ("grpc.max_connection_age_grace_ms", 1)]


def main(seconds: float, *, shared: bool) -> None:
    """Watch for `seconds`; end without closing anything, which would take long and prove nothing."""
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
