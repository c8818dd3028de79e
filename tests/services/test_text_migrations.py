from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mesh.data.migrations import migrate
from tests.support.postgres import connection_to

if TYPE_CHECKING:
    import asyncpg

SERVICES = Path(__file__).parents[2] / "services"
LAST_BEFORE = 15
UNCLEAN = "Dana\n\nYour card\u2028was\x85declined\u202e"
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


ADD_GUEST = """
    with calendar as (insert into calendars values (uuidv7()) returning gym_id),
    session as (
        insert into sessions (user_id, gym_id, period, status, currency, minor_units, credits, noise_policy,
                              requires_approval, paid_in, cancel_reason, create_time, update_time, caller,
                              request_sha256, correlation_id, booking_response)
        select uuidv7(), gym_id, tstzrange(now(), now() + '1 hour'), 'cancelled', 'GBP', 1, 1, '', false, 'card', $1,
               now(), now(), 'operator', '', '', ''
        from calendar returning session_id
    )
    insert into guests (session_id, email, name, create_time) select session_id, 'guest@example.org', $1, now()
    from session
"""
GUESTS = "select name, cancel_reason from guests join sessions using (session_id)"
ADD_REFUND = """
    with session as (insert into sessions values (uuidv7(), now(), $1) returning session_id)
    insert into payments (session_id, user_id, method, currency, minor_units, credits, status, refunded_in,
                          refund_reason, refund_time, create_time, update_time)
    select session_id, uuidv7(), 'card', 'GBP', 1, 1, 'refunded', 'card', $1, now(), now(), now() from session
"""


async def insert_and_migrate(
    url: str, service: str, folder: Path, add: str, rows: list[tuple[Any, ...]], query: str
) -> list[asyncpg.Record]:
    """Add rows to a database from before the text rules, migrate it, and return the result of the query."""
    migrations = SERVICES / service / "migrations"
    for path in migrations.glob("*.sql"):
        if int(path.name.partition("_")[0]) <= LAST_BEFORE:
            shutil.copy(path, folder)
    await migrate(url, folder)
    async with connection_to(url) as connection:
        await connection.executemany(add, rows)
    await migrate(url, migrations)
    async with connection_to(url) as connection:
        return await connection.fetch(query)


@pytest.mark.parametrize(("name", "after"), [(UNCLEAN, CLEAN), (BLANK, "Member"), (PERSIAN, PERSIAN), ("Dana", "Dana")])
async def test_names_from_before_the_text_rules_become_valid(
    empty_database_url: str, tmp_path: Path, name: str, after: str
) -> None:
    """The migration makes stored names valid single lines, because an answer that breaks the contract is INTERNAL."""
    query = "select display_name from users"
    rows = await insert_and_migrate(empty_database_url, "user", tmp_path, ADD_USER, [("dana", name)], query)

    assert [tuple(row) for row in rows] == [(after,)]


async def test_gym_names_from_before_the_text_rules_stay_distinct(empty_database_url: str, tmp_path: Path) -> None:
    """The migration removes control characters from names and noise policies and replaces blank names.

    Names are compared in NFC.
    """
    names = [(UNCLEAN,), (BLANK,), ("E\u0301lan",)]
    rows = await insert_and_migrate(empty_database_url, "gym", tmp_path, ADD_GYM, names, "select * from gyms")

    gyms = {row["name"]: row["folded_name"] for row in rows}
    (blank,) = (row for row in rows if row["name"].startswith("Gym "))
    assert gyms == {
        CLEAN: CLEAN.lower(),
        blank["name"]: f"gym {blank['gym_id']}",
        "E\u0301lan": "élan",
    }
    assert {row["noise_policy"] for row in rows} == {"No  weights\nat night"}


@pytest.mark.parametrize(
    ("text", "name", "reason"), [(UNCLEAN, CLEAN, CLEAN), (BLANK, "Guest", BLANK), (PERSIAN, PERSIAN, PERSIAN)]
)
async def test_guests_and_reasons_from_before_the_text_rules_become_valid(
    empty_database_url: str, tmp_path: Path, text: str, name: str, reason: str
) -> None:
    """The migration turns guests' names and reasons into single lines. It replaces a blank name but no blank reason."""
    rows = await insert_and_migrate(empty_database_url, "session", tmp_path, ADD_GUEST, [(text,)], GUESTS)

    assert [tuple(row) for row in rows] == [(name, reason)]


async def test_refund_reasons_from_before_the_text_rules_become_valid(empty_database_url: str, tmp_path: Path) -> None:
    """The migration turns the reasons of refunds into single lines and leaves their other text unchanged."""
    query = "select refund_reason, void_reason from payments join sessions using (session_id) order by payment_id"
    rows = await insert_and_migrate(
        empty_database_url, "payment", tmp_path, ADD_REFUND, [(UNCLEAN,), (PERSIAN,)], query
    )

    assert [tuple(row) for row in rows] == [(CLEAN, CLEAN), (PERSIAN, PERSIAN)]
