"""Suspension: a server with all its processes that does nothing for a while, and answers nobody."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psutil


@contextmanager
def suspended(server: psutil.Process) -> Iterator[None]:
    """Suspend a process and its children for the time of the context.

    The parent comes first and goes on last: meanwhile it starts no other child, and buries none that ends.
    """
    server.suspend()
    children = server.children()
    for child in children:
        child.suspend()
    try:
        yield
    finally:
        for process in (*children, server):
            if process.is_running():
                process.resume()
