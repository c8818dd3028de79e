from __future__ import annotations

import asyncio
import random
import time
from contextlib import ExitStack
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any, cast

import pytest

from tests.services.payment import ledger_worker
from tests.services.payment.ledger import count, held_by_cards, house_sum, violations
from tests.services.payment.ledger_worker import cashier_of
from tests.support.eventually import eventually
from tests.support.processes import PATIENCE_S, started

if TYPE_CHECKING:
    from multiprocessing.connection import Connection as Pipe
    from multiprocessing.process import BaseProcess

    from mesh.database import Database

UNSETTLED = """
    select session_id from sessions left join payments using (session_id)
    where status = 'pending' or (status = 'captured' and void_time is not null)
"""


class Crowd:
    """Workers on one ledger, any of which may be killed at any time."""

    def __init__(self, url: str, size: int, rng: random.Random) -> None:
        self.done = self.killed = 0
        self._url, self._size, self._rng = url, size, rng
        self._workers: dict[Any, tuple[BaseProcess, ExitStack]] = {}

    def work(self, operations: int, kill_every: int) -> None:
        """Return when so many operations are done; kill a worker, and start another, after each `kill_every`."""
        try:
            for _ in range(self._size):
                self._start()
            while self.done < operations:
                self._listen()
                if self.done >= (self.killed + 1) * kill_every:
                    self.killed += 1
                    self._kill(self._rng.choice(list(self._workers)))
                    self._start()
        finally:
            for pipe in list(self._workers):
                self._kill(pipe)

    def _listen(self) -> None:
        ready = wait(list(self._workers), PATIENCE_S)
        assert ready, "nobody does anything any more"
        for pipe in ready:
            said = cast("Pipe[Any, Any]", pipe).recv()
            assert isinstance(said, int), said
            self.done += said

    def _start(self) -> None:
        stack = ExitStack()
        first = self.done // self._size
        process, pipe = stack.enter_context(started(ledger_worker.run, self._url, self._rng.getrandbits(32), first))
        self._workers[pipe] = (process, stack)

    def _kill(self, pipe: Pipe[Any, Any]) -> None:
        process, stack = self._workers.pop(pipe)
        process.kill()
        stack.close()


@pytest.mark.parametrize(
    ("workers", "operations", "kill_every"),
    [(4, 400, 40), pytest.param(32, 100_000, 200, marks=pytest.mark.soak)],
)
async def test_a_crowd_whose_members_are_killed_leaves_a_ledger_without_a_flaw(
    payment_url: str, database: Database, workers: int, operations: int, kill_every: int
) -> None:
    """T-h3: charges, refunds, credits back and grants race, `kill -9` at any point; what it left is taken up again."""
    own_pids = await backends(database)

    async def all_are_gone() -> bool:
        return await backends(database) <= own_pids

    crowd = Crowd(payment_url, workers, random.Random(workers))  # noqa: S311 - a test's choices
    began_s = time.perf_counter()
    await asyncio.to_thread(crowd.work, operations, kill_every)
    print(f"{crowd.done} operations, {crowd.killed} kills, {time.perf_counter() - began_s:.0f} s")  # noqa: T201 - for who runs it with -s
    # PostgreSQL finishes the statements that it received before a worker was killed.
    await eventually(all_are_gone)
    assert await violations(database) == set()

    async with database.connection() as connection:
        unsettled = [row[0] for row in await connection.fetch(UNSETTLED)]
    for session_id in unsettled:
        await cashier_of(database).refund(session_id, "found unsettled")

    assert await violations(database) == set()
    assert await held_by_cards(database) == -await house_sum(database, "cards", "GBP")
    assert await count(database, f"({UNSETTLED}) as unsettled") == 0


async def backends(database: Database) -> set[int]:
    """Return the ids of the PostgreSQL processes that serve this database's role now."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            "select pid from pg_stat_activity where datname = current_database() and usename = current_user"
        )
    return {row["pid"] for row in rows}
