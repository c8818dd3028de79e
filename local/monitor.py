"""Monitor of a running mesh: reports changes of its parts, and restarts parts that ended unexpectedly.

The reports are sentences for the user of `solo60 up`. Each report names the part, the event, and the next step or the
command to type. The sentence without the command is also the state of the part, which `solo60 health` shows.
"""

from __future__ import annotations

import asyncio
import time
from enum import Enum, auto
from typing import TYPE_CHECKING

import psutil

from local.disk import disk_trouble_of_mesh
from local.parts import POSTGRES, MeshError
from local.postgres.server import PostgresError
from local.restart_backoff import RestartBackoff
from mesh.data.database_probe import DatabaseTrouble, database_trouble
from mesh.serving.health_probe import SERVING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from local.parts import UnexpectedExit
    from local.supervisor import Mesh

POLL_INTERVAL_S = 0.2
# Five seconds together: a database that does not answer is reported within that time.
DATABASE_INTERVAL_S = 1.0
DATABASE_TIMEOUT_S = 4.0
DISK_INTERVAL_S = 2.0


class Tone(Enum):
    """Tone of a report: a problem, or its end."""

    TROUBLE = auto()
    RECOVERY = auto()


class Monitor:
    """Monitor of one mesh: restarts each part that ended unexpectedly, with growing pauses, if `restarts` is true.

    The monitor also reports a database that does not answer, a full disk, and the end of both. `notify` receives each
    sentence and its tone; `pause` waits before a restart.
    """

    def __init__(
        self,
        mesh: Mesh,
        notify: Callable[[str, Tone], None],
        *,
        restarts: bool = True,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._mesh = mesh
        self._notify = notify
        self._restarts = restarts
        self._pause = pause

    async def run(self) -> None:
        """Watch and restart the parts until cancelled."""
        async with asyncio.TaskGroup() as group:
            for part in self._mesh.parts():
                group.create_task(self._watch_part(part))
            group.create_task(self._watch_database())
            group.create_task(self._watch_disk())

    async def _watch_part(self, part: str) -> None:
        """Report each unexpected end of one part, and restart the part."""
        backoff, began, failure = RestartBackoff(), time.monotonic(), ""
        while True:
            unexpected_exit = await self._next_unexpected_exit(part)
            ended = failure or f"{name_of(part)} {unexpected_exit.reason}."
            log = f"Its log is {unexpected_exit.log}."
            if not self._restarts:
                self._report_trouble(part, f"{ended} {log}", f"`solo60 restart {part}` starts it again.")
                await self._until_replaced(part, unexpected_exit)
                continue
            pause_s = backoff.pause_s(time.monotonic() - began)
            self._report_trouble(part, f"{ended} It restarts in {pause_s:.0f} s. {log}")
            await self._pause(pause_s)
            failure = await self._restart_after(part, unexpected_exit)
            began = time.monotonic()

    async def _restart_after(self, part: str, unexpected_exit: UnexpectedExit) -> str:
        """Restart a part; return the reason if it has ended once more, else ""."""
        try:
            if await self._mesh.restart_after(part, unexpected_exit):
                self._notify(f"{name_of(part)} is running again.", Tone.RECOVERY)
        except (MeshError, PostgresError, OSError) as error:
            sentence = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)
            if self._mesh.unexpected_exit_of(part) is not None:
                return f"{sentence}."
            self._report_trouble(part, f"{sentence}.")
        return ""

    async def _next_unexpected_exit(self, part: str) -> UnexpectedExit:
        while (unexpected_exit := self._mesh.unexpected_exit_of(part)) is None:  # noqa: ASYNC110 - a process ends without an event
            await asyncio.sleep(POLL_INTERVAL_S)
        return unexpected_exit

    async def _until_replaced(self, part: str, unexpected_exit: UnexpectedExit) -> None:
        while self._mesh.unexpected_exit_of(part) == unexpected_exit:  # noqa: ASYNC110 - likewise
            await asyncio.sleep(POLL_INTERVAL_S)

    async def _watch_database(self) -> None:
        was_bad = False
        while True:
            await asyncio.sleep(DATABASE_INTERVAL_S)
            trouble = await self._database_trouble()
            if trouble is not None and not was_bad:
                self._report_trouble(POSTGRES, f"PostgreSQL {trouble.reason}. {self._advice()}".strip())
            elif trouble is None and was_bad and self._mesh.unexpected_exit_of(POSTGRES) is None:
                self._mesh.report(POSTGRES, SERVING)
                self._notify("PostgreSQL answers again.", Tone.RECOVERY)
            was_bad = trouble is not None

    async def _database_trouble(self) -> DatabaseTrouble | None:
        """Probe the database; ignore refused connections of the mesh's own server: `_watch_part` reports its end."""
        trouble = await database_trouble(self._mesh.server_url, DATABASE_TIMEOUT_S)
        is_own = POSTGRES in self._mesh.parts()
        return None if trouble is not None and is_own and not trouble.is_silent else trouble

    def _advice(self) -> str:
        pid = self._mesh.postgres_pid()
        if POSTGRES not in self._mesh.parts():
            return "Check the server that DATABASE_URL names."
        if pid is not None and is_suspended(pid):
            return f"Its process {pid} is suspended: `kill -CONT {pid}` resumes it."
        return ""

    async def _watch_disk(self) -> None:
        reported = ""
        while True:
            trouble = await asyncio.to_thread(disk_trouble_of_mesh, self._mesh.settings)
            if trouble and not reported:
                self._notify(f"DATA_DIR: {trouble}", Tone.TROUBLE)
            elif reported and not trouble:
                self._notify("DATA_DIR has room again.", Tone.RECOVERY)
            reported = trouble
            await asyncio.sleep(DISK_INTERVAL_S)

    def _report_trouble(self, part: str, sentence: str, advice: str = "") -> None:
        """Store a sentence as the state of a part, and report it with the command to type."""
        self._mesh.states[part] = sentence
        self._notify(f"{sentence} {advice}".strip(), Tone.TROUBLE)


def name_of(part: str) -> str:
    """Return the name of a part for use in a sentence."""
    return "PostgreSQL" if part == POSTGRES else part


def is_suspended(pid: int) -> bool:
    """Return whether a process is stopped by SIGSTOP."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_STOPPED
    except psutil.Error:
        return False
