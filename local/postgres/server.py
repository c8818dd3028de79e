"""Embedded PostgreSQL: a real server from a wheel that ends with its owner."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import IO, TYPE_CHECKING, Self

from local.postgres import guardian
from local.postgres.installation import Installation, PostgresError, prepare_installation, remove_data
from local.postgres.role import SERVICE_ROLE, SUPERUSER, ensure_service_role

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["EmbeddedPostgres", "PostgresError", "remove_data"]

HOST = "127.0.0.1"
# A large database may need this long for crash recovery.
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 60.0


class EmbeddedPostgres:
    """PostgreSQL 18 on 127.0.0.1 with its data in `data_dir`, as an async context manager.

    The server runs under a guardian process, which stops it when this process ends for any reason. Afterwards the
    folder can be served again, even if everything was killed. A second owner at the same time is rejected. Port 0
    selects a free port. Without `durable`, a power cut loses data: use that for tests only.

    Every local account may connect, as any role and without a password: use it for development and tests only. In
    production, `DATABASE_URL` names a separate server. Under root the server runs as `nobody`. If `nobody` cannot
    reach `data_dir`, the data is in /var/tmp and `data_dir` is a symbolic link to it; `remove_data` removes both.

    The server is not bound to an event loop: it may be started in one and stopped in another.
    """

    def __init__(self, data_dir: Path, *, port: int = 0, durable: bool = True) -> None:
        self._data_dir = data_dir
        self._wanted_port = port
        self._durable = durable
        self._guardian: subprocess.Popen[str] | None = None
        self._port: int | None = None
        self._last_output = ""
        self._restart_failed = False

    @property
    def url(self) -> str:
        """The URL of the maintenance database, for the role of services, which creates and owns their databases.

        Raises PostgresError while the server is not running.
        """
        return self._url_for(SERVICE_ROLE)

    @property
    def superuser_url(self) -> str:
        """The same URL for the superuser, which has every permission."""
        return self._url_for(SUPERUSER)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Return once the server accepts connections; raise PostgresError with the server's reason if it fails."""
        if self._guardian is not None:
            raise PostgresError(f"PostgreSQL in {self._data_dir} is already started")
        installation = await asyncio.to_thread(prepare_installation, self._data_dir)
        self._guardian = guardian = self._launch(installation)
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                self._port = await asyncio.to_thread(self._read_answer, guardian.stdout)
                await ensure_service_role(self.superuser_url)
        except BaseException as error:
            await self.stop()
            if isinstance(error, TimeoutError):
                reason = f"PostgreSQL in {self._data_dir} is not ready after {START_TIMEOUT_S:.0f} s"
                raise PostgresError(reason) from error
            raise

    async def restart(self) -> None:
        """Stop the server if it still runs, and start it on the same port; raise PostgresError as `start` does."""
        port = self._port or self._wanted_port
        await self.stop()
        self._wanted_port = port
        self._restart_failed = True
        await self.start()
        self._restart_failed = False

    @property
    def log(self) -> Path:
        """The log of the server's current run."""
        return self._data_dir / "server.log"

    @property
    def guardian_pid(self) -> int:
        """The guardian's process id, which changes with each start; 0 while there is no guardian."""
        return self._guardian.pid if self._guardian is not None else 0

    @property
    def server_pid(self) -> int | None:
        """The server's process id, or None if its pid file is missing or incomplete."""
        try:
            return int((self._data_dir / "cluster" / "postmaster.pid").read_text().partition("\n")[0])
        except (OSError, ValueError):
            return None

    def exit_reason(self) -> str | None:
        """Return the reason for the unexpected end of a started server ("was killed by signal 9"), or None.

        After a failed restart, the result is "did not start again".
        """
        guardian = self._guardian
        if guardian is None:
            return "did not start again" if self._restart_failed else None
        if guardian.poll() is None:
            return None
        if guardian.stdout is not None and not self._last_output:
            self._last_output = guardian.stdout.read().strip().rpartition("\n")[2]
        return self._last_output or "lost its guardian process, which was killed"

    async def stop(self) -> None:
        """Return once the server has ended and its data is on disk; do nothing if it is not running."""
        guardian, self._guardian, self._port, self._last_output = self._guardian, None, None, ""
        if guardian is not None:
            await asyncio.to_thread(_stop_guardian, guardian)

    def _url_for(self, role: str) -> str:
        if self._port is None:
            raise PostgresError(f"PostgreSQL in {self._data_dir} is not started")
        return f"postgresql://{role}@{HOST}:{self._port}/postgres?sslmode=disable"

    def _launch(self, installation: Installation) -> subprocess.Popen[str]:
        command = [sys.executable, "-I", "-S", guardian.__file__]
        command += [
            "--binaries",
            str(installation.binaries),
            "--folder",
            str(installation.folder),
            "--port",
            str(self._wanted_port),
        ]
        if installation.account is not None:
            command += ["--user", f"{installation.account.uid}:{installation.account.gid}"]
        if not self._durable:
            command.append("--not-durable")
        return subprocess.Popen(  # noqa: S603 - our own interpreter on our own file
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # the owner handles Ctrl-C in a terminal
        )

    def _read_answer(self, answers: IO[str] | None) -> int:
        """Return the port of the ready server; raise PostgresError with the guardian's message otherwise."""
        if answers is None:  # for the type checker only: stdout is a pipe
            raise PostgresError("the guardian has no output")
        answer = answers.readline()
        word, _, port = answer.partition(" ")
        if word == "ready":
            return int(port)
        reason = (answer + answers.read()).strip().rpartition("\n")[2] or "its guardian process was killed"
        raise PostgresError(f"PostgreSQL in {self._data_dir} did not start: {reason} (`make reset` empties DATA_DIR)")


def _stop_guardian(guardian: subprocess.Popen[str]) -> None:
    """Stop the guardian, which stops its server, and wait until the guardian has ended."""
    if guardian.stdin is not None:
        guardian.stdin.close()
    try:
        guardian.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        guardian.kill()
        guardian.wait()
    if guardian.stdout is not None:
        guardian.stdout.close()
