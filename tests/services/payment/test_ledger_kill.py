from __future__ import annotations

import asyncio
import random
import time
from contextlib import ExitStack
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any, cast

import pytest

from tests.services.payment import ledger_worker
from tests.services.payment.cashiers import cashier_of
from tests.services.payment.ledger_queries import company_account_sum, count, net_card_charges, violations
from tests.support.eventually import eventually
from tests.support.processes import TIMEOUT_S, started

if TYPE_CHECKING:
    from multiprocessing.connection import Connection as Pipe
    from multiprocessing.process import BaseProcess

    from mesh.data.database import Database

UNSETTLED = """
    select session_id from sessions left join payments using (session_id)
    where status = 'pending' or (status = 'captured' and void_time is not null)
"""


class KilledWorkers:
    """Workers on one ledger that are killed at random."""

    def __init__(self, url: str, size: int, rng: random.Random) -> None:
        self.done = self.killed = 0
        self._url, self._size, self._rng = url, size, rng
        self._workers: dict[Any, tuple[BaseProcess, ExitStack]] = {}

    def work(self, operations: int, kill_every: int) -> None:
        """Run until `operations` are done. After each `kill_every`, kill a worker and start another."""
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
        ready = wait(list(self._workers), TIMEOUT_S)
        assert ready, "no worker has reported for too long"
        for pipe in ready:
            report = cast("Pipe[Any, Any]", pipe).recv()
            assert isinstance(report, int), report
            self.done += report

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
async def test_killed_workers_leave_a_sound_ledger(
    payment_url: str, database: Database, workers: int, operations: int, kill_every: int
) -> None:
    """Workers killed during charges, refunds, credit-backs and grants break no invariant.

    A refund of each unsettled session then completes it, and ledger and card company agree.
    """
    own_pids = await backend_pids(database)

    async def workers_have_left_the_database() -> bool:
        return await backend_pids(database) <= own_pids

    killed_workers = KilledWorkers(payment_url, workers, random.Random(workers))  # noqa: S311 - random operations
    began_s = time.perf_counter()
    await asyncio.to_thread(killed_workers.work, operations, kill_every)
    print(f"{killed_workers.done} operations, {killed_workers.killed} kills, {time.perf_counter() - began_s:.0f} s")  # noqa: T201 - shown by pytest -s
    # PostgreSQL still executes the statements that it has received from a killed worker.
    await eventually(workers_have_left_the_database)
    assert await violations(database) == set()

    async with database.connection() as connection:
        unsettled = [row[0] for row in await connection.fetch(UNSETTLED)]
    for session_id in unsettled:
        await cashier_of(database).refund(session_id, "found unsettled")

    assert await violations(database) == set()
    assert await net_card_charges(database) == -await company_account_sum(database, "cards", "GBP")
    assert await count(database, f"({UNSETTLED}) as unsettled") == 0


async def backend_pids(database: Database) -> set[int]:
    """Return the process ids of the current database connections of this role."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            "select pid from pg_stat_activity where datname = current_database() and usename = current_user"
        )
    return {row["pid"] for row in rows}
