"""Tables of the mesh: they are the same in every database, even if a service created its own in an earlier release.

`earlier_release/` contains the migrations of that release that have since been changed or removed: those common to all
services, and one folder for each service.
"""

from __future__ import annotations

import hashlib
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from contracts.services import SERVICE_NAMES
from mesh.data.earlier_release import CHANGED, REMOVED
from mesh.data.integrity import check_integrity
from mesh.data.migrations import MESH_MIGRATIONS, MigrationError, migrate, pending_versions
from tests.support.postgres import SERVICES, connection_to

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.postgres import DatabaseFactory

EARLIER = Path(__file__).parent / "earlier_release"
KEYS_BY_AGE, KEYS_HAVE_ANSWERS, OUTBOX = "idempotency_keys_by_age.sql", "keys_have_answers.sql", "outbox.sql"
# The files of the earlier release that no longer exist, by service and number.
GONE = {
    "user": {"0002": KEYS_BY_AGE, "0009": KEYS_HAVE_ANSWERS, "0010": OUTBOX},
    "gym": {"0002": KEYS_BY_AGE, "0009": KEYS_HAVE_ANSWERS, "0010": OUTBOX},
    "session": {"0010": OUTBOX},
    "payment": {"0003": KEYS_BY_AGE, "0010": OUTBOX},
    "subscription": {"0010": OUTBOX},
    "communication": {"0002": KEYS_BY_AGE, "0009": KEYS_HAVE_ANSWERS, "0010": OUTBOX},
}
ROWS = """
    insert into idempotency_keys values ('operator', 'a.Request', 'key', 'sha', 'answer', '2026-01-01 00:00Z');
    insert into outbox (message_id, destination, payload, correlation_id, traceparent, deliver_time, create_time)
    values ('0198c1a2-0000-7000-8000-000000000001', 'a.Service/Method', 'request', 'correlation', '',
        '2026-01-01 00:00Z', '2026-01-01 00:00Z')
"""
READ_ROWS = (
    """
    select caller, request_type, key, request_sha256, response, create_time from idempotency_keys
    where caller = 'operator'
    """,
    "select * from outbox where destination = 'a.Service/Method'",
)
# Every column, constraint, index, trigger, function and view of the public schema, as PostgreSQL would write it.
DEFINITIONS = """
    select format('%s.%s %s %s %s', attrelid::regclass, attname, format_type(atttypid, atttypmod), attnotnull,
        pg_get_expr(adbin, adrelid))
    from pg_attribute join pg_class on pg_class.oid = attrelid
        left join pg_attrdef on (adrelid, adnum) = (attrelid, attnum)
    where relnamespace = 'public'::regnamespace and relkind in ('r', 'v') and attnum > 0 and not attisdropped
    union all
    select format('%s %s', oid::regclass, reloptions) from pg_class
    where relnamespace = 'public'::regnamespace and relkind = 'r'
    union all
    select format('%s %s %s', conrelid::regclass, conname, pg_get_constraintdef(oid)) from pg_constraint
    where connamespace = 'public'::regnamespace
    union all
    select indexdef from pg_indexes where schemaname = 'public'
    union all
    select pg_get_triggerdef(oid) from pg_trigger where not tgisinternal
    union all
    select pg_get_functiondef(pg_proc.oid) from pg_proc
    where pronamespace = 'public'::regnamespace and prokind = 'f' and not exists (
        select from pg_depend where objid = pg_proc.oid and deptype = 'e'
    )
    union all
    select format('%s %s', viewname, definition) from pg_views where schemaname = 'public'
    order by 1
"""


class EarlierRelease:
    """Earlier release: its migration files, applied without those of the mesh."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        self._monkeypatch = monkeypatch

    async def migrate(self, url: str, service: str, count: int | None = None) -> None:
        """Apply the first `count` files of a service, or all of them, and no files of the mesh."""
        own = self._folder / service
        shutil.copytree(SERVICES / service / "migrations", own)
        shutil.copytree(EARLIER / service, own, dirs_exist_ok=True)
        for number, name in GONE[service].items():
            shutil.copy(EARLIER / name, own / f"{number}_{name}")
        if count is not None:
            for path in sorted(own.glob("*.sql"))[count:]:
                path.unlink()
        with self._without_files_of_the_mesh():
            await migrate(url, own)

    async def pending(self, url: str, service: str) -> list[str]:
        """Return the versions that a process of the earlier release would miss in a database."""
        async with connection_to(url) as connection:
            with self._without_files_of_the_mesh():
                return await pending_versions(connection, self._folder / service)

    @contextmanager
    def _without_files_of_the_mesh(self) -> Iterator[None]:
        empty = self._folder / "mesh"
        empty.mkdir(exist_ok=True)
        with self._monkeypatch.context() as patch:
            patch.setattr("mesh.data.migrations.MESH_MIGRATIONS", empty)
            yield


@pytest.fixture
def earlier(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> EarlierRelease:
    """Make the earlier release in its own folder."""
    return EarlierRelease(tmp_path_factory.mktemp("earlier"), monkeypatch)


def checksum_of(path: Path) -> str:
    """Return the checksum of a file, as migrations record it."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


async def definitions_in(url: str) -> list[str]:
    """Return the definitions of all objects in the public schema of a database."""
    async with connection_to(url) as connection:
        return [text for (text,) in await connection.fetch(DEFINITIONS)]


async def rows_in(url: str) -> list[Any]:
    """Return the rows that an earlier release wrote into the tables of the mesh."""
    async with connection_to(url) as connection:
        return [tuple(row) for query in READ_ROWS for row in await connection.fetch(query)]


@pytest.mark.parametrize("service", SERVICE_NAMES)
async def test_every_database_has_the_tables_of_the_mesh(database_url: DatabaseFactory, service: str) -> None:
    """The database of every service has the tables of the mesh."""
    async with connection_to(await database_url(service)) as connection:
        assert await connection.fetchval("select to_regclass('idempotency_keys') is not null")
        assert await connection.fetchval("select to_regclass('outbox') is not null")


@pytest.mark.parametrize("count", [1, None], ids=["first file", "all files"])
@pytest.mark.parametrize("service", GONE)
async def test_a_database_of_the_earlier_release_is_adopted(
    empty_database_url: str, database_url: DatabaseFactory, earlier: EarlierRelease, service: str, count: int | None
) -> None:
    """A database of the earlier release, complete or not, becomes equal to a new one in every definition."""
    await earlier.migrate(empty_database_url, service, count)
    migrations = SERVICES / service / "migrations"

    pending = (await check_integrity(empty_database_url, migrations)).pending
    applied = await migrate(empty_database_url, migrations)

    assert applied == list(pending)
    of_the_mesh = sorted(path.name.partition("_")[0] for path in MESH_MIGRATIONS.glob("*.sql"))
    assert [version for version in applied if version in of_the_mesh] == of_the_mesh
    assert (applied == of_the_mesh) == (count is None)
    assert await definitions_in(empty_database_url) == await definitions_in(await database_url(service))
    assert (await check_integrity(empty_database_url, migrations)).is_sound
    assert await migrate(empty_database_url, migrations) == []


@pytest.mark.parametrize("service", GONE)
async def test_a_database_of_the_earlier_release_loses_no_row(
    empty_database_url: str, earlier: EarlierRelease, service: str
) -> None:
    """Keys and messages of the earlier release are in the same rows after the migration, and doctor accepts both."""
    await earlier.migrate(empty_database_url, service)
    async with connection_to(empty_database_url) as connection:
        await connection.execute(ROWS)
    before = await rows_in(empty_database_url)
    found = await check_integrity(empty_database_url, SERVICES / service / "migrations")

    await migrate(empty_database_url, SERVICES / service / "migrations")

    assert (found.trouble, found.broken_invariants) == ("", ())
    assert await rows_in(empty_database_url) == before
    assert len(before) == 2


async def test_a_replica_of_the_earlier_release_still_starts(empty_database_url: str, earlier: EarlierRelease) -> None:
    """A process of the earlier release finds all of its migrations in a migrated database, during a rolling update."""
    await earlier.migrate(empty_database_url, "user")

    await migrate(empty_database_url, SERVICES / "user" / "migrations")

    assert await earlier.pending(empty_database_url, "user") == []


@pytest.mark.parametrize(("name", "text"), [("0001_users.sql", "-- changed\n"), ("0002_again.sql", "-- migrate:up\n")])
async def test_files_of_the_earlier_release_are_protected(
    empty_database_url: str, earlier: EarlierRelease, tmp_path: Path, name: str, text: str
) -> None:
    """In a database of that release, a file that changes again and a new file with a removed number are rejected."""
    await earlier.migrate(empty_database_url, "user")
    shutil.copytree(SERVICES / "user" / "migrations", tmp_path, dirs_exist_ok=True)
    with (tmp_path / name).open("a") as file:
        file.write(text)

    with pytest.raises(MigrationError, match=f"{name} was changed after it was applied"):
        await migrate(empty_database_url, tmp_path)


def test_the_checksums_are_those_of_the_files() -> None:
    """The recorded checksums are those of the earlier files and of the files that replaced them."""
    present = {checksum_of(path) for path in SERVICES.glob("*/migrations/*.sql")}

    assert {checksum_of(path) for path in EARLIER.glob("*.sql")} == REMOVED
    assert {checksum_of(path) for path in EARLIER.glob("*/*.sql")} == CHANGED.keys()
    assert set(CHANGED.values()) <= present
    assert not present & (REMOVED | CHANGED.keys())
