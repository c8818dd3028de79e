"""Processes for tests to kill, forked from a server with the code preloaded, so that each starts in milliseconds.

    with started(keyed_caller.run, url, "key-1") as (process, pipe):
        assert pipe.recv() == "at before insert"
        process.kill()

The function gets the other end of the pipe as its last argument. The process is killed at the end of the context.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection as Pipe
    from multiprocessing.process import BaseProcess

TIMEOUT_S = 60.0

_context = get_context("forkserver")


@contextmanager
def started(work: Callable[..., None], *arguments: object) -> Iterator[tuple[BaseProcess, Pipe[Any, Any]]]:
    """Run `work(*arguments, pipe)` in a new process; yield the process and the test's end of the pipe."""
    _context.set_forkserver_preload([work.__module__])
    ours, theirs = _context.Pipe()
    process = _context.Process(target=work, args=(*arguments, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        yield process, ours
    finally:
        process.kill()
        process.join(TIMEOUT_S)
        process.close()
        ours.close()


async def receive(pipe: Pipe[Any, Any]) -> Any:
    """Return the next object from the pipe. Raise EOFError if the process has ended, TimeoutError after TIMEOUT_S."""
    if not await asyncio.to_thread(pipe.poll, TIMEOUT_S):
        raise TimeoutError
    return pipe.recv()
