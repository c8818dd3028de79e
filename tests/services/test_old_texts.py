from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mesh.migrations import migrate
from tests.support.postgres import connection_to

if TYPE_CHECKING:
    import asyncpg

SERVICES = Path(__file__).parents[2] / "services"
LAST_BEFORE = 16
CRUFT = "Dana\n\nYour card\u2028was\x85declined\u202e"
CLEAN = "Dana  Your card was declined "
BLANK = " \u200d\u3164\U000e0061"
PERSIAN = "نامه\u200cنگار"  # noqa: RUF001 - Persian
ADD_USER = """
    insert into users (email, display_name, roles, state, email_confirmed, time_zone, create_time, update_time)
    values ($1 || '@example.org', $2, '{ROLE_MEMBER}', 'USER_STATE_ACTIVE', false, 'UTC', now(), now())
"""
ADD_GYM = """
    insert into gyms (name, time_zone, currency_code, minor_units_per_hour, credits_per_hour, noise_policy,
                      opens_minute, closes_minute, requires_approval, create_time, update_time)
    values ($1, 'UTC', 'GBP', 1, 1, E'No\\x07 weights\\nat night', 0, 1440, false, now(), now())
"""


async def migrated(url: str, service: str, folder: Path, add: str, rows: list[tuple[Any, ...]]) -> list[asyncpg.Record]:
    """Add rows to a database from before the rules for texts, migrate it, and return the rows."""
    migrations = SERVICES / service / "migrations"
    for path in migrations.glob("*.sql"):
        if int(path.name.partition("_")[0]) <= LAST_BEFORE:
            shutil.copy(path, folder)
    await migrate(url, folder)
    async with connection_to(url) as connection:
        await connection.executemany(add, rows)
    await migrate(url, migrations)
    async with connection_to(url) as connection:
        query = f"select * from {service}s order by create_time, {service}_id"  # noqa: S608 - names from this file
        return await connection.fetch(query)


@pytest.mark.parametrize(("name", "after"), [(CRUFT, CLEAN), (BLANK, "Member"), (PERSIAN, PERSIAN), ("Dana", "Dana")])
async def test_names_from_before_the_rule_can_still_be_answered(
    empty_database_url: str, tmp_path: Path, name: str, after: str
) -> None:
    """An answer that breaks the contract is an INTERNAL error, so stored names are brought to one line."""
    (row,) = await migrated(empty_database_url, "user", tmp_path, ADD_USER, [("dana", name)])

    assert row["display_name"] == after


async def test_gyms_from_before_the_rule_keep_their_names_apart(empty_database_url: str, tmp_path: Path) -> None:
    """Names and rules of the house hold no control characters any more, and names compare in NFC."""
    rows = await migrated(empty_database_url, "gym", tmp_path, ADD_GYM, [(CRUFT,), (BLANK,), ("E\u0301lan",)])

    gyms = {row["name"]: row["folded_name"] for row in rows}
    (blank,) = (row for row in rows if row["name"].startswith("Gym "))
    assert gyms == {
        CLEAN: CLEAN.lower(),
        blank["name"]: f"gym {blank['gym_id']}",
        "E\u0301lan": "élan",
    }
    assert {row["noise_policy"] for row in rows} == {"No  weights\nat night"}
