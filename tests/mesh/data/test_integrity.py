from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mesh.data.database import Database
from mesh.data.integrity import BrokenInvariant, check_integrity, find_broken_invariants
from tests.support.postgres import SERVICES, connection_to

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.postgres import DatabaseFactory, DatabaseOpener

A_SESSION = """
    insert into calendars (gym_id) values ('0198c1a2-0000-7000-8000-000000000001');
    insert into sessions (user_id, gym_id, period, status, currency, minor_units, credits, noise_policy,
        requires_approval, paid_in, create_time, update_time, caller, idempotency_key, request_sha256, correlation_id,
        booking_response)
    values (uuidv7(), '0198c1a2-0000-7000-8000-000000000001', '[2026-06-01 10:00Z, 2026-06-01 11:00Z)', 'confirmed',
        'GBP', 1250, 3, '', false, 'credits', now(), now(), 'operator', 'one', '', 'test', '')
"""
ANOTHER_ONE = """
    alter table sessions drop constraint sessions_never_overlap;
    insert into sessions (user_id, gym_id, period, status, currency, minor_units, credits, noise_policy,
        requires_approval, paid_in, create_time, update_time, caller, idempotency_key, request_sha256, correlation_id,
        booking_response)
    select user_id, gym_id, period, status, currency, minor_units, credits, noise_policy, requires_approval, paid_in,
        create_time, update_time, caller, 'another', request_sha256, correlation_id, booking_response
    from sessions
"""
AN_OFFER = """
    insert into calendars (gym_id) values ('0198c1a2-0000-7000-8000-000000000001') on conflict do nothing;
    with entry as (
        insert into waiting_list (user_id, gym_id, period, create_time)
        values (uuidv7(), '0198c1a2-0000-7000-8000-000000000001', '[2026-06-01 10:00Z, 2026-06-01 11:00Z)', now())
        returning *
    ), held as (
        insert into sessions (user_id, gym_id, period, status, currency, minor_units, credits, noise_policy,
            requires_approval, paid_in, create_time, update_time, caller, idempotency_key, request_sha256,
            correlation_id, expire_time)
        select user_id, gym_id, period, 'pending_payment', 'GBP', 1250, 3, '', false, 'credits', now(), now(),
            'session', 'offer/' || entry_id, '', 'test', now()
        from entry returning *
    )
    insert into offers (entry_id, session_id, status, expire_time, create_time, update_time)
    select entry_id, session_id, 'open', now(), now(), now() from entry, held
"""
ANOTHER_OFFER = f"alter table sessions drop constraint sessions_never_overlap; {AN_OFFER}"
CLOSE_SESSION = "update sessions set status = 'cancelled', expire_time = null, idempotency_key = null"
CLOSE_ENTRY = "update waiting_list set leave_time = now()"
KEY_WITHOUT_ANSWER = "insert into idempotency_keys values ('operator', 'a.Request', 'key', '', null)"


async def test_violated_invariants_are_reported_with_their_first_rows(empty_database_url: str) -> None:
    """Each non-empty view named violation_* is reported with its row count and its first five rows.

    Other views and tables are ignored.
    """
    async with connection_to(empty_database_url) as connection:
        assert await find_broken_invariants(connection) == ()
        await connection.execute("create view violation_none as select 1 as id where false")
        await connection.execute("create view violation_many as select n as id from generate_series(1, 7) as n")
        await connection.execute("create view violationless as select 1 as id; create table violation_table (id int)")

        found = await find_broken_invariants(connection)

    assert found == (BrokenInvariant("violation_many", 7, tuple(f'{{"id":{n}}}' for n in range(1, 6))),)


@pytest.mark.parametrize(
    ("breakage", "view"),
    [
        (ANOTHER_ONE, "violation_sessions_overlap"),
        ("update sessions set booking_response = null", "violation_session_without_answer"),
        ("update sessions set status = 'pending_payment', expire_time = now()", "violation_session_answered_too_soon"),
        ("update sessions set idempotency_key = null", "violation_session_without_key"),
    ],
)
async def test_each_view_of_sessions_finds_its_violation(
    open_database: DatabaseOpener, breakage: str, view: str
) -> None:
    """The invariant views of the session database are empty for sound data, and each finds its own violation."""
    database = await open_database("session")
    async with database.connection() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(A_SESSION)
        before = await find_broken_invariants(connection)
        await connection.execute(breakage)
        after = await find_broken_invariants(connection)
        await transaction.rollback()

    assert before == ()
    assert [violation.view for violation in after] == [view]


@pytest.mark.parametrize(
    ("breakage", "views"),
    [
        ([ANOTHER_OFFER], ["violation_sessions_overlap", "violation_slot_offered_twice"]),
        ([CLOSE_SESSION], ["violation_offer_without_hold"]),
        ([CLOSE_ENTRY, "update offers set status = 'declined'"], ["violation_hold_outlives_offer"]),
        ([CLOSE_SESSION, "update offers set status = 'claimed'"], ["violation_hold_outlives_offer"]),
        ([CLOSE_SESSION, "update offers set status = 'expired'"], ["violation_waiting_after_offer"]),
    ],
)
async def test_each_view_of_offers_finds_its_violation(
    open_database: DatabaseOpener, breakage: list[str], views: list[str]
) -> None:
    """The invariant views of offers are empty for an open offer, and each finds its own violation."""
    database = await open_database("session")
    async with database.connection() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(AN_OFFER)
        before = await find_broken_invariants(connection)
        await connection.execute("; ".join(breakage))
        after = await find_broken_invariants(connection)
        await transaction.rollback()

    assert before == ()
    assert [violation.view for violation in after] == views


@pytest.mark.breaks_invariants("violation_key_without_answer")
async def test_the_marker_lets_a_test_break_an_invariant(open_database: DatabaseOpener) -> None:
    """A test may break the invariants named by its `breaks_invariants` marker.

    Invariants are checked after every test. Without the marker, or without the violation, this test would fail.
    """
    database = await open_database("gym")

    async with database.transaction() as connection:
        await connection.execute(KEY_WITHOUT_ANSWER)


@pytest.fixture
async def lent(database_url: DatabaseFactory) -> str:
    """Return the URL of a database of the user service."""
    return await database_url("user")


async def test_a_sound_database_is_reported_as_sound(lent: str) -> None:
    """A database without violations is reported as sound."""
    found = await check_integrity(lent, SERVICES / "user" / "migrations")

    assert found.is_sound


async def test_a_database_that_cannot_be_examined_is_not_sound(
    empty_database_url: str, reachable_folder: Path, lent: str
) -> None:
    """A missing or unreachable database, or one with unreadable migrations, is reported with the reason.

    The report does not contain the password.
    """
    missing = empty_database_url.replace("/test_", "/no_test_")

    for url, folder in (
        (missing, SERVICES),
        ("postgresql://solo60:s3cret@127.0.0.1:1/x", SERVICES),
        ("junk", SERVICES),
    ):
        found = await check_integrity(url, folder)
        assert found.trouble.startswith("The database cannot be reached (")
        assert not found.is_sound
        assert "s3cret" not in found.trouble
    assert "does not exist" in (await check_integrity(lent, reachable_folder / "nowhere")).trouble


async def test_an_unknown_migration_is_reported_beside_other_problems(lent: str) -> None:
    """An applied migration without a file is reported together with the pending migrations."""
    async with connection_to(lent) as connection:
        await connection.execute("insert into schema_migrations values ('9999')")
        await connection.execute("delete from schema_migrations where version = '0001'")
        try:
            found = await check_integrity(lent, SERVICES / "user" / "migrations")
        finally:
            await connection.execute("delete from schema_migrations where version = '9999'")
            await connection.execute("insert into schema_migrations values ('0001')")

    assert found.trouble.startswith("migration 9999 is applied, but its file is missing")
    assert found.pending == ("0001",)


async def test_pending_migrations_are_listed_and_not_applied(empty_database_url: str) -> None:
    """Pending migrations are listed in order, and the check does not apply them."""
    for _ in range(2):
        found = await check_integrity(empty_database_url, SERVICES / "gym" / "migrations")
        assert found.pending[:5] == ("000001", "000002", "000027", "000028", "0001")

    database = await Database.connect(empty_database_url)
    async with database.connection() as connection:
        assert await connection.fetchval("select count(*) from pg_tables where schemaname = 'public'") == 0
    await database.close()
