"""Starter of a mesh's processes: forks while the mesh starts, and new interpreters later."""

from __future__ import annotations

from typing import TYPE_CHECKING

from local.forking import CannotFork, ForkServer
from local.parts import MESH
from local.processes import spawn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from local.parts import Report
    from local.processes import Process, Streams


class ProcessStarter:
    """Starter of processes, called like `local.processes.spawn`. All processes inherit the descriptor `lock`.

    `fork_server` is one that runs already. `report` receives a part of the mesh and its state.
    """

    def __init__(self, report: Report, fork_server: ForkServer | None = None) -> None:
        self.lock = 0
        self._report = report
        self._given = fork_server
        self._server: ForkServer | None = None

    async def prepare_to_fork(self) -> None:
        """Wait for the fork server, and start one if there is none. Then fork all processes until `stop_forking`.

        If the fork server fails, report the reason and start an interpreter for each process.
        """
        try:
            self._server = self._given or ForkServer()
            await self._server.wait_until_ready()
        except CannotFork as failure:
            self._give_up(failure)

    def __call__(self, program: Sequence[str], environment: Mapping[str, str], streams: Streams) -> Process:
        """Start a module with its arguments, as `local.processes.spawn` does."""
        if self._server is not None:
            try:
                return self._server.fork(program, environment, streams, [self.lock])
            except CannotFork as failure:
                self._give_up(failure)
        return spawn(program, environment, streams, [self.lock])

    def stop_forking(self) -> None:
        """Stop the fork server, so that later processes load the code that is then on disk."""
        server, self._server = self._server, None
        if server is not None:
            server.stop()

    def _give_up(self, failure: CannotFork) -> None:
        self.stop_forking()
        self._report(MESH, f"starts an interpreter for each process, because {failure}")
