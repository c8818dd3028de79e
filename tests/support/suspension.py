"""Suspension of a server with all its processes."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psutil


@contextmanager
def suspended(server: psutil.Process) -> Iterator[None]:
    """Suspend a process and its children while the context is open.

    The parent is suspended first and resumed last, so that it neither starts a child nor reaps one in between.
    """
    server.suspend()
    children = server.children()
    try:
        for child in children:
            child.suspend()
        yield
    finally:
        for process in (*children, server):
            if process.is_running():
                process.resume()
