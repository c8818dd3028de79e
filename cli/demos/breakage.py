"""Faults in the services of the mesh on this machine. Each fault ends by itself, also if the demo is interrupted."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import psutil

from cli.terminal import CommandError
from local.folder_lock import read_published

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mesh.config import Settings

MAX_SUSPENSION_S = 20
# Runs in its own session, so that it resumes the process even if the demo is killed.
_RESUME_LATER = f"sleep {MAX_SUSPENSION_S}; kill -CONT $1 2>/dev/null"


class Breakage:
    """Faults in the services of the mesh that runs in DATA_DIR."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @asynccontextmanager
    async def suspended(self, service: str) -> AsyncIterator[None]:
        """Suspend the process of a service during the context, at most MAX_SUSPENSION_S seconds."""
        pid = self._pid_of(service)
        guard = await asyncio.create_subprocess_exec("sh", "-c", _RESUME_LATER, "sh", str(pid), start_new_session=True)
        try:
            os.kill(pid, signal.SIGSTOP)
            yield
        finally:
            with suppress(ProcessLookupError):  # the service was killed meanwhile
                os.kill(pid, signal.SIGCONT)
            os.killpg(guard.pid, signal.SIGKILL)
            await guard.wait()

    def kill(self, service: str) -> None:
        """Kill the process of a service. The mesh starts it again, unless it was started with --no-restart."""
        os.kill(self._pid_of(service), signal.SIGKILL)

    def _pid_of(self, service: str) -> int:
        """Return the id of a service's process; raise CommandError if no mesh of this folder runs it."""
        facts = read_published(self._settings.data_dir)
        if facts is not None:
            with suppress(psutil.NoSuchProcess):
                for child in psutil.Process(int(str(facts["pid"]))).children():
                    if f"services.{service}" in child.cmdline():
                        return child.pid
        raise CommandError(
            f"{service}: no mesh in {self._settings.data_dir.absolute()} runs it. `make run` starts one."
        )
