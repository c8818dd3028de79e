"""Orphans: services of a killed mesh, which drain until they end by themselves.

Each service inherits a lock of its mesh. The kernel releases the lock when the last of these services has ended for any
reason. So the next mesh in the same folder can detect when the ports and files of the services are free.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import psutil

from local.disk import with_path
from mesh.failure import BadSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

LOCK_NAME = "services.lock"
POLL_INTERVAL_S = 0.05


class OrphansRemain(BadSettings):
    """Error for services of a killed mesh that are still running; the message lists their processes."""


@asynccontextmanager
async def without_orphans(
    folder: Path, timeout_s: float, on_wait: Callable[[], None] = lambda: None
) -> AsyncIterator[int]:
    """Wait until no service of a killed mesh runs in `folder`; yield the lock's descriptor for services to inherit.

    Calls `on_wait` once if a wait is necessary. Raises OrphansRemain after `timeout_s` seconds.
    """
    path = folder / LOCK_NAME
    with with_path(path):
        held = path.open("a")
    with held as file:
        if not _locked(file.fileno()):
            on_wait()
            await _wait_for(file.fileno(), path, timeout_s)
        yield file.fileno()


async def _wait_for(descriptor: int, path: Path, timeout_s: float) -> None:
    give_up_at = time.monotonic() + timeout_s
    while not _locked(descriptor):
        if time.monotonic() > give_up_at:
            pids = " ".join(map(str, await asyncio.to_thread(_pids_with, path))) or "(see lsof)"
            raise OrphansRemain(
                f"DATA_DIR: services of a killed mesh still run in {path.parent.absolute()} after "
                f"{timeout_s:.0f} s; `kill -9 {pids}` ends them."
            )
        await asyncio.sleep(POLL_INTERVAL_S)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _pids_with(path: Path) -> list[int]:
    """Return the ids of all processes that have a file open, except this one."""
    name, pids = str(path.resolve()), []
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # the process has ended, or belongs to another account
            if process.pid != os.getpid() and name in {each.path for each in process.open_files()}:
                pids.append(process.pid)
    return pids
