"""The embedded PostgreSQL: a real server from a wheel, for as long as its owner lives and never longer."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import IO, TYPE_CHECKING, Self

from mesh import postgres_guardian
from mesh.postgres_place import Place, PostgresError, erase, prepare_place
from mesh.postgres_role import SERVICE_ROLE, SUPERUSER, ensure_service_role

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["EmbeddedPostgres", "PostgresError", "erase"]

HOST = "127.0.0.1"
# A large database may need this long to recover after a crash.
START_PATIENCE_S = 120.0
STOP_PATIENCE_S = 60.0


class EmbeddedPostgres:
    """PostgreSQL 18 on 127.0.0.1, with its data in `data_dir`, as an async context manager.

    The server runs under a guardian process that stops it when this process ends, however it ends. The same folder can
    be served again afterwards, also after everything was killed; two owners at once are refused. `port` 0 takes a free
    one. Without `durable` a power cut loses data: for tests.

    Every local account may connect, as any role and without a password: it is a database for development and tests. In
    production, `DATABASE_URL` names a server of its own. As root it runs as `nobody`, and where that account cannot
    reach `data_dir`, the data lies in /var/tmp and `data_dir` is a symbolic link to it; `erase` removes both.

    It is bound to no event loop: it may be started in one and stopped in another.
    """

    def __init__(self, data_dir: Path, *, port: int = 0, durable: bool = True) -> None:
        self._data_dir = data_dir
        self._wanted_port = port
        self._durable = durable
        self._guardian: subprocess.Popen[str] | None = None
        self._port: int | None = None
        self._last_words = ""
        self._did_not_come_back = False

    @property
    def url(self) -> str:
        """The URL of the maintenance database, for the role that services have: it makes databases and owns them.

        Raises PostgresError while the server is not running.
        """
        return self._url_for(SERVICE_ROLE)

    @property
    def superuser_url(self) -> str:
        """The same for the superuser, whom nothing is denied to."""
        return self._url_for(SUPERUSER)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Return once the server accepts connections; raise PostgresError with its own reason when it does not."""
        if self._guardian is not None:
            raise PostgresError(f"PostgreSQL in {self._data_dir} is already started")
        place = await asyncio.to_thread(prepare_place, self._data_dir)
        self._guardian = guardian = self._launch(place)
        try:
            async with asyncio.timeout(START_PATIENCE_S):
                self._port = await asyncio.to_thread(self._read_answer, guardian.stdout)
                await ensure_service_role(self.superuser_url)
        except BaseException as error:
            await self.stop()
            if isinstance(error, TimeoutError):
                reason = f"PostgreSQL in {self._data_dir} is not ready after {START_PATIENCE_S:.0f} s"
                raise PostgresError(reason) from error
            raise

    async def restart(self) -> None:
        """Stop the server where it still runs, and start it at the same port; raise PostgresError as `start` does."""
        port = self._port or self._wanted_port
        await self.stop()
        self._wanted_port = port
        self._did_not_come_back = True
        await self.start()
        self._did_not_come_back = False

    @property
    def log(self) -> Path:
        """The server's log of its current run."""
        return self._data_dir / "server.log"

    @property
    def guardian_pid(self) -> int:
        """The process id of the guardian, which each start has anew; 0 while there is none."""
        return self._guardian.pid if self._guardian is not None else 0

    @property
    def server_pid(self) -> int | None:
        """The process id of the server, or None while it says none."""
        try:
            return int((self._data_dir / "cluster" / "postmaster.pid").read_text().partition("\n")[0])
        except (OSError, ValueError):
            return None

    def end(self) -> str | None:
        """Return how a started server ended that nobody stopped ("was killed by signal 9"), or None.

        After a restart that failed, it is "did not start again".
        """
        guardian = self._guardian
        if guardian is None:
            return "did not start again" if self._did_not_come_back else None
        if guardian.poll() is None:
            return None
        if guardian.stdout is not None and not self._last_words:
            self._last_words = guardian.stdout.read().strip().rpartition("\n")[2]
        return self._last_words or "lost its guardian process, which was killed"

    async def stop(self) -> None:
        """Return once the server has ended, with everything on disk; do nothing when it is not running."""
        guardian, self._guardian, self._port, self._last_words = self._guardian, None, None, ""
        if guardian is not None:
            await asyncio.to_thread(_release, guardian)

    def _url_for(self, role: str) -> str:
        if self._port is None:
            raise PostgresError(f"PostgreSQL in {self._data_dir} is not started")
        return f"postgresql://{role}@{HOST}:{self._port}/postgres?sslmode=disable"

    def _launch(self, place: Place) -> subprocess.Popen[str]:
        command = [sys.executable, "-I", "-S", postgres_guardian.__file__]
        command += ["--binaries", str(place.binaries), "--folder", str(place.folder), "--port", str(self._wanted_port)]
        if place.account is not None:
            command += ["--user", f"{place.account.uid}:{place.account.gid}"]
        if not self._durable:
            command.append("--careless")
        return subprocess.Popen(  # noqa: S603  (our own interpreter on our own file)
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # Ctrl-C in a terminal is the owner's to handle
        )

    def _read_answer(self, answers: IO[str] | None) -> int:
        """Read the port of the ready server; raise PostgresError with what the guardian said instead."""
        if answers is None:  # only for the type checker: stdout is a pipe
            raise PostgresError("the guardian has no output")
        answer = answers.readline()
        word, _, port = answer.partition(" ")
        if word == "ready":
            return int(port)
        reason = (answer + answers.read()).strip().rpartition("\n")[2] or "its guardian process was killed"
        raise PostgresError(f"PostgreSQL in {self._data_dir} did not start: {reason} (`make reset` empties DATA_DIR)")


def _release(guardian: subprocess.Popen[str]) -> None:
    """Tells the guardian to stop its server, and waits until it has."""
    if guardian.stdin is not None:
        guardian.stdin.close()
    try:
        guardian.wait(STOP_PATIENCE_S)
    except subprocess.TimeoutExpired:
        guardian.kill()
        guardian.wait()
    if guardian.stdout is not None:
        guardian.stdout.close()
