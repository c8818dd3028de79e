"""Rows of a database of a given size, inserted by the SQL files beside this module."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg

from cli.gym_chain import FIRST_NAMES, SURNAMES
from solo60.common.v1.period_pb2 import Period

if TYPE_CHECKING:
    from collections.abc import Mapping

SQL = Path(__file__).parent / "sql"
SERVICES = ("user", "gym", "session", "payment", "communication", "subscription")
# Kinds of `id_of` in sql/shared.sql.
USER, GYM, SESSION = 1, 2, 3
_SET = "select set_config('fill.' || $1, $2, false)"

NOW = datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Population:
    """Size of the databases: members, gyms, and sessions of each gym over two years."""

    users: int
    gyms: int
    slots: int

    @property
    def sessions(self) -> int:
        """Number of sessions of all gyms."""
        return self.gyms * self.slots

    @property
    def day(self) -> Period:
        """A coming day."""
        return period(NOW + timedelta(days=10), timedelta(days=1))

    @property
    def month(self) -> Period:
        """The coming 30 days."""
        return period(NOW, timedelta(days=30))


def id_of(kind: int, number: int) -> str:
    """Return the id of a row by its kind and number, as `id_of` in sql/shared.sql does."""
    digits = f"{1_500_000_000_000 + kind * 10_000_000_000 + number * 1000:012x}"
    return f"{digits[:8]}-{digits[8:]}-7000-8000-000000000000"


async def fill(urls: Mapping[str, str], population: Population) -> None:
    """Fill the databases of the services, and analyze them. The URLs, by service, are the superuser's."""
    await asyncio.gather(*(_fill(urls[name], name, population) for name in SERVICES))


async def _fill(url: str, name: str, population: Population) -> None:
    connection = await asyncpg.connect(url, command_timeout=None)
    settings = {
        "users": population.users,
        "gyms": population.gyms,
        "slots": population.slots,
        "now": NOW.isoformat(),
        "first_names": ",".join(FIRST_NAMES),
        "surnames": ",".join(SURNAMES),
    }
    try:
        for key, value in settings.items():
            await connection.execute(_SET, key, str(value))
        # Without triggers, because those of the ledger permit one transaction at a time.
        await connection.execute("set session_replication_role = replica; set synchronous_commit = off")
        for file in ("shared", name, "mesh"):
            await connection.execute((SQL / f"{file}.sql").read_text(encoding="utf-8"))
        await connection.execute("vacuum analyze")
    finally:
        await connection.close()


def period(start: datetime, length: timedelta) -> Period:
    """Return a period."""
    message = Period()
    message.start_time.FromDatetime(start)
    message.end_time.FromDatetime(start + length)
    return message
