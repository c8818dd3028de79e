"""Processes to kill: forked from one that has loaded the code already, so that each starts in milliseconds.

    with started(keyed_caller.run, url, "key-1") as (process, pipe):
        assert pipe.recv() == "at before insert"
        process.kill()

The function is given the other end of the pipe as its last argument. What still runs at the end is killed.
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

PATIENCE_S = 60.0

_context = get_context("forkserver")


@contextmanager
def started(work: Callable[..., None], *arguments: object) -> Iterator[tuple[BaseProcess, Pipe[Any, Any]]]:
    """Run `work(*arguments, pipe)` in a process of its own, and talk to it by the pipe."""
    _context.set_forkserver_preload([work.__module__])
    ours, theirs = _context.Pipe()
    process = _context.Process(target=work, args=(*arguments, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        yield process, ours
    finally:
        process.kill()
        process.join(PATIENCE_S)
        process.close()
        ours.close()


async def heard(pipe: Pipe[Any, Any]) -> Any:  # noqa: ANN401 - whatever the process sends
    """Return the next thing that a process says; raise EOFError when it has ended, TimeoutError after a minute."""
    if not await asyncio.to_thread(pipe.poll, PATIENCE_S):
        raise TimeoutError
    return pipe.recv()
