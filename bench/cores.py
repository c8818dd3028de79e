"""Processor cores. Servers and load run on different cores, so that neither slows the other."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MIN_CORES = 2


def server_core() -> int:
    """Return the core that runs the servers."""
    return _CORES[0]


def load_core() -> int:
    """Return the core that runs the load: the last one, because neighbouring numbers may be threads of one core."""
    return _CORES[-1]


def require_two_cores() -> None:
    """Exit with an error message unless there is a core for servers and another one for the load."""
    if len(_CORES) < MIN_CORES:
        sys.exit("The benchmarks need Linux and two cores: one for the server, one for the load.")


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Run on `core` inside the context. A process started there stays on the core with all its threads."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


_CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
