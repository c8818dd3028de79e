"""Free ports for a test's servers."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack

# Below those that systems give to outgoing connections: nobody gets one by chance before the test's server listens.
CHOICE = range(10_000, 32_000)


def free_ports(count: int) -> list[int]:
    """Return `count` different ports of 127.0.0.1 that nobody listens on."""
    candidates = iter(random.SystemRandom().sample(CHOICE, len(CHOICE)))
    with ExitStack() as stack:
        ports: list[int] = []
        while len(ports) < count:
            port = next(candidates)
            try:
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            ports.append(port)
        return ports
