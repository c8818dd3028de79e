"""Cores: servers run on one, what loads them on another, so that neither takes time from the other."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

LEAST_CORES = 2


def server_core() -> int:
    """Return the core for servers."""
    return _CORES[0]


def load_core() -> int:
    """Return the core for what loads them: the farthest, as neighbours may be two halves of one."""
    return _CORES[-1]


def require_two_cores() -> None:
    """End the program with one sentence where servers and load cannot be kept apart."""
    if len(_CORES) < LEAST_CORES:
        sys.exit("The benchmarks need Linux and two cores: one for the server, one for the load.")


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Run on `core` for the time of the context; a process started meanwhile stays there, with all its threads."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


_CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
