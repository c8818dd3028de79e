"""Free ports for a test's servers."""

from __future__ import annotations

import os
import random
import socket
from itertools import cycle
from typing import TYPE_CHECKING

from mesh.supervised_settings import METRICS_PORT_DISTANCE

if TYPE_CHECKING:
    from collections.abc import Iterator

# Below those that systems give to outgoing connections: nobody gets one by chance before the test's server listens.
# Between them lie those on which services that `solo60 up` starts show their metrics.
CHOICE = [port for port in range(10_000, 32_000) if port // METRICS_PORT_DISTANCE % 2 == 0]


def free_ports(count: int) -> list[int]:
    """Return `count` ports of 127.0.0.1 that nobody listens on, and that no other test of the run is about to use."""
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
    """Go round those that are this worker's among all of pytest-xdist, from anywhere on: other runs go round too."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    share = CHOICE[worker :: int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))]
    begin = random.SystemRandom().randrange(len(share))
    return cycle(share[begin:] + share[:begin])


_untaken = _share_of_this_process()
