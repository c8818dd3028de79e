"""Free ports for a test's servers."""

from __future__ import annotations

import os
import random
import socket
from itertools import cycle
from typing import TYPE_CHECKING

from local.supervised_settings import HTTP_PORT_DISTANCE, METRICS_PORT_DISTANCE

if TYPE_CHECKING:
    from collections.abc import Iterator

# Below the ephemeral ports, so that no outgoing connection takes one before the test's server listens. The last 600
# ports of each thousand are for metrics and HTTP of `solo60 up`, 500 and 600 above the ports of its services. Every
# second hundred is left out, so that the HTTP port of one service is never the metrics port of another one.
_GAP = HTTP_PORT_DISTANCE - METRICS_PORT_DISTANCE
PORTS = [
    port for port in range(10_000, 32_000) if port % 1_000 < 1_000 - HTTP_PORT_DISTANCE and port % (2 * _GAP) < _GAP
]


def free_ports(count: int) -> list[int]:
    """Return `count` free ports of 127.0.0.1 that no other test of the run gets."""
    ports: list[int] = []
    while len(ports) < count:
        port = next(_untaken)
        if _is_free(port):
            ports.append(port)
    return ports


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _share_of_this_process() -> Iterator[int]:
    """Cycle through this pytest-xdist worker's share of PORTS, from a random start to avoid ports of other runs."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    share = PORTS[worker :: int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))]
    begin = random.SystemRandom().randrange(len(share))
    return cycle(share[begin:] + share[:begin])


_untaken = _share_of_this_process()
