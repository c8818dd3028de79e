"""Keeper of a running mesh: reports changes of its parts, and restarts parts that ended unexpectedly.

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

    from local.parts import Death
    from local.supervisor import Mesh

POLL_INTERVAL_S = 0.2
# Five seconds together: a database that does not answer is reported within that time.
DATABASE_INTERVAL_S = 1.0
DATABASE_PATIENCE_S = 4.0
DISK_INTERVAL_S = 2.0


class Tone(Enum):
    """Tone of a report: a problem, or its end."""

    TROUBLE = auto()
    RELIEF = auto()


class Keeper:
    """Keeper of one mesh: restarts each part that ended unexpectedly, with growing pauses, if `restarts` is true.

    The keeper also reports a database that does not answer, a full disk, and the end of both. `say` receives each
    sentence and its tone; `pause` waits before a restart.
    """

    def __init__(
        self,
        mesh: Mesh,
        say: Callable[[str, Tone], None],
        *,
        restarts: bool = True,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._mesh = mesh
        self._say = say
        self._restarts = restarts
        self._pause = pause

    async def keep(self) -> None:
        """Watch and restart the parts until cancelled."""
        async with asyncio.TaskGroup() as group:
            for part in self._mesh.parts():
                group.create_task(self._keep(part))
            group.create_task(self._watch_database())
            group.create_task(self._watch_disk())

    async def _keep(self, part: str) -> None:
        """Report each unexpected end of one part, and restart the part."""
        backoff, began, failure = RestartBackoff(), time.monotonic(), ""
        while True:
            death = await self._next_death(part)
            ended = failure or f"{name_of(part)} {death.how}."
            log = f"Its log is {death.log}."
            if not self._restarts:
                self._tell(part, f"{ended} {log}", f"`solo60 restart {part}` starts it again.")
                await self._until_replaced(part, death)
                continue
            pause_s = backoff.pause_s(time.monotonic() - began)
            self._tell(part, f"{ended} It restarts in {pause_s:.0f} s. {log}")
            await self._pause(pause_s)
            failure = await self._revive(part, death)
            began = time.monotonic()

    async def _revive(self, part: str, death: Death) -> str:
        """Restart a part; return the reason if it has ended once more, else ""."""
        try:
            if await self._mesh.revive(part, death):
                self._say(f"{name_of(part)} is running again.", Tone.RELIEF)
        except (MeshError, PostgresError, OSError) as error:
            sentence = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)
            if self._mesh.death_of(part) is not None:
                return f"{sentence}."
            self._tell(part, f"{sentence}.")
        return ""

    async def _next_death(self, part: str) -> Death:
        while (death := self._mesh.death_of(part)) is None:  # noqa: ASYNC110 - a process ends without an event
            await asyncio.sleep(POLL_INTERVAL_S)
        return death

    async def _until_replaced(self, part: str, death: Death) -> None:
        while self._mesh.death_of(part) == death:  # noqa: ASYNC110 - likewise
            await asyncio.sleep(POLL_INTERVAL_S)

    async def _watch_database(self) -> None:
        was_bad = False
        while True:
            await asyncio.sleep(DATABASE_INTERVAL_S)
            trouble = await self._database_trouble()
            if trouble is not None and not was_bad:
                self._tell(POSTGRES, f"PostgreSQL {trouble.reason}. {self._advice()}".strip())
            elif trouble is None and was_bad and self._mesh.death_of(POSTGRES) is None:
                self._mesh.report(POSTGRES, SERVING)
                self._say("PostgreSQL answers again.", Tone.RELIEF)
            was_bad = trouble is not None

    async def _database_trouble(self) -> DatabaseTrouble | None:
        """Probe the database; ignore refused connections of the mesh's own server, because `_keep` reports its end."""
        trouble = await database_trouble(self._mesh.server_url, DATABASE_PATIENCE_S)
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
        said = ""
        while True:
            trouble = await asyncio.to_thread(disk_trouble_of_mesh, self._mesh.settings)
            if trouble and not said:
                self._say(f"DATA_DIR: {trouble}", Tone.TROUBLE)
            elif said and not trouble:
                self._say("DATA_DIR has room again.", Tone.RELIEF)
            said = trouble
            await asyncio.sleep(DISK_INTERVAL_S)

    def _tell(self, part: str, sentence: str, advice: str = "") -> None:
        """Store a sentence as the state of a part, and report it with the command to type."""
        self._mesh.states[part] = sentence
        self._say(f"{sentence} {advice}".strip(), Tone.TROUBLE)


def name_of(part: str) -> str:
    """Return the name of a part for use in a sentence."""
    return "PostgreSQL" if part == POSTGRES else part


def is_suspended(pid: int) -> bool:
    """Return whether a process is stopped by SIGSTOP."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_STOPPED
    except psutil.Error:
        return False
