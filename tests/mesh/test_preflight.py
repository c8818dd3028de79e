from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from mesh import preflight
from mesh.config import SERVICE_NAMES, SettingsError, child_environment, load_settings
from mesh.migrations import MigrationError
from mesh.postgres import EmbeddedPostgres
from mesh.service_databases import check_databases, database_url_of, migrate_all
from mesh.spans import make_span_folder
from mesh.supervisor import Mesh
from services.gym.app import SERVICE as GYM
from tests.support.local_mesh import LocalMesh
from tests.support.old_postgres import old_postgres
from tests.support.postgres import connection_to, superuser_url_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.support.postgres import DatabaseFactory, PostgresForTests
    from tests.support.serving import Serve

NEEDS = "the server is PostgreSQL 15; the services need PostgreSQL 18 or newer."
# Stands for the address of user, which a test chooses.
USERS = "user:1"
# Written by the first service that starts, and by the start itself.
TRACES_OF_A_START = ("logs", "keys", "postgres", "inbox")


@pytest.fixture
def stopped() -> Iterator[LocalMesh]:
    """Make a folder and ports for a mesh."""
    with LocalMesh.in_new_folder() as mesh:
        yield mesh


@pytest.fixture
async def server_url(postgres: PostgresForTests) -> AsyncIterator[str]:
    """Lend the tests' server; drop the databases of services that are made there."""
    yield postgres.url
    for name in SERVICE_NAMES:
        await execute(postgres.url, f"drop database if exists solo60_{name}")


async def execute(url: str, *statements: str) -> None:
    """Execute statements on a connection of their own."""
    async with connection_to(url) as connection:
        for statement in statements:
            await connection.execute(statement)


async def databases_on(url: str) -> set[str]:
    """Name the databases of services on a server."""
    async with connection_to(url) as connection:
        rows = await connection.fetch(r"select datname from pg_database where datname like 'solo60\_%'")
    return {row["datname"] for row in rows}


async def refused(mesh: LocalMesh, monkeypatch: pytest.MonkeyPatch, **settings: object) -> str:
    """Return the one sentence of a start that is refused before anything has started."""
    for name, value in child_environment(**{**mesh.settings_by_name, **settings}).items():
        monkeypatch.setenv(name, value)
    reports: list[tuple[str, str]] = []
    with pytest.raises((SettingsError, MigrationError)) as caught:
        async with Mesh(load_settings(), lambda part, state: reports.append((part, state))):
            pass

    assert (reports, traces_of_a_start(mesh)) == ([], set())
    assert "\n" not in str(caught.value)
    return str(caught.value)


def refused_by_command(mesh: LocalMesh, **settings: object) -> tuple[int, str]:
    """Return exit code and sentence of a `solo60 up` that is refused before anything has started."""
    done = mesh.solo60("up", **settings)

    assert (done.stdout, done.stderr.count("\n")) == ("", 1), done.stdout + done.stderr
    assert traces_of_a_start(mesh) == set()
    return done.returncode, done.stderr.rstrip("\n")


def traces_of_a_start(mesh: LocalMesh) -> set[str]:
    """Return what a start has left in the data folder."""
    return {path.name for path in mesh.data_dir.glob("*")} & set(TRACES_OF_A_START)


@pytest.mark.parametrize(
    ("setting", "value", "beginning"),
    [
        ("smtp_url", "nonsense", 'SMTP_URL: must be "smtp://host:port"'),
        ("mail_from", "nonsense", "MAIL_FROM: must be an address"),
        ("operators_email", "a@b.example,nonsense", "OPERATORS_EMAIL: must be an address"),
        ("webhook_secrets", "nonsense", "WEBHOOK_SECRETS: must be secrets of the form"),
        ("database_url", "nonsense", 'DATABASE_URL: must be "postgresql://'),
        ("database_url", "mysql://ada:hunter2@127.0.0.1/solo60", 'DATABASE_URL: must be "postgresql://'),
        ("database_url", "postgresql://ada:hunter2@127.0.0.1:1/x", "DATABASE_URL: the server cannot be reached: "),
        ("outbox_transport", "nats", "NATS_URL: must be set if OUTBOX_TRANSPORT is nats."),
        ("gym_service_url", USERS, "GYM_SERVICE_URL: "),
        ("span_dir", "/dev/null/spans", "SPAN_DIR: /dev/null/spans cannot be created: Not a directory."),
        ("keyring_file", "/dev/null", "KEYRING_FILE: /dev/null is not a keyring."),
    ],
)
async def test_a_bad_setting_stops_the_start_before_anything_starts(
    stopped: LocalMesh, monkeypatch: pytest.MonkeyPatch, setting: str, value: str, beginning: str
) -> None:
    """One sentence names the setting and its form, nothing has started, and no secret is repeated."""
    value = value.replace(USERS, stopped.settings.user_service_url)

    sentence = await refused(stopped, monkeypatch, **{setting: value})

    assert sentence.startswith(beginning)
    assert "hunter2" not in sentence


@pytest.mark.system
def test_a_bad_setting_ends_the_command_with_its_sentence_alone(stopped: LocalMesh) -> None:
    """`solo60 up` prints the sentence and nothing else, and its exit code says that a setting is wrong."""
    code, sentence = refused_by_command(stopped, database_url="mysql://ada:hunter2@127.0.0.1/solo60")

    assert code == 2
    assert sentence.startswith('DATABASE_URL: must be "postgresql://')
    assert "hunter2" not in sentence


@pytest.mark.system
async def test_a_server_that_is_too_old_stops_start_and_migrations(stopped: LocalMesh) -> None:
    """The version is read before anything starts or is migrated; `up` and `migrate` name the setting and both versions.

    README says which version is needed.
    """
    async with old_postgres("15.18") as url:
        refused = await asyncio.to_thread(refused_by_command, stopped, database_url=url)
        assert refused == (1, f"DATABASE_URL: {NEEDS}")
        with pytest.raises(MigrationError, match=f"^DATABASE_URL: {NEEDS}$"):
            await migrate_all(stopped.settings_with(database_url=url), url)


async def test_a_server_that_says_nothing_is_named_in_time(stopped: LocalMesh) -> None:
    """Whatever listens there, the start does not wait for a minute."""

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as silent:
        url = f"postgresql://ada@127.0.0.1:{silent.sockets[0].getsockname()[1]}/solo60"
        with pytest.raises(MigrationError, match=r"^DATABASE_URL: the server does not answer within 5 s\.$"):
            await check_databases(stopped.settings_with(database_url=url), url)


async def test_a_migration_that_another_branch_applied_stops_all_migrations(
    stopped: LocalMesh, server_url: str
) -> None:
    """The sentence names service, database and migration; no other database has been touched."""
    settings = stopped.settings_with(database_url=server_url)
    await execute(server_url, "create database solo60_gym")
    await execute(
        database_url_of(server_url, "gym"),
        "create table schema_migrations (version text primary key)",
        "insert into schema_migrations values ('0001'), ('9998'), ('9999')",
    )

    with pytest.raises(MigrationError) as caught:
        await migrate_all(settings, server_url)

    assert str(caught.value) == (
        "DATABASE_URL: the database solo60_gym of gym does not fit this checkout: migration 9998, 9999 is applied, "
        "but its file is missing: switch to the branch that has the file, or drop the database."
    )
    assert await databases_on(server_url) == {"solo60_gym"}


@pytest.mark.system
async def test_a_migration_of_another_branch_stops_the_start_on_the_kept_database(stopped: LocalMesh) -> None:
    """PostgreSQL alone has started, because it has to be asked; no service begins."""
    async with EmbeddedPostgres(stopped.settings.postgres_folder) as kept:
        await execute(kept.url, "create database solo60_gym")
        await execute(
            database_url_of(kept.url, "gym"),
            "create table schema_migrations (version text primary key)",
            "insert into schema_migrations values ('9999')",
        )

    done = await asyncio.to_thread(stopped.solo60, "up")

    assert done.returncode == 1
    assert done.stderr.startswith("DATA_DIR: the database solo60_gym of gym does not fit this checkout: migration 9999")
    assert done.stderr.endswith("`make reset` empties it.\n")
    assert "migrating" not in done.stdout


async def test_a_role_that_may_not_create_databases_is_told_so(stopped: LocalMesh, server_url: str) -> None:
    """Before anything is migrated: the sentence names the database and its service."""
    await execute(superuser_url_of(server_url), "create role meek login")
    url = server_url.replace("//solo60@", "//meek@")
    try:
        with pytest.raises(MigrationError, match=r"^DATABASE_URL: the database solo60_auth of auth is missing, "):
            await check_databases(stopped.settings_with(database_url=url), url)
    finally:
        await execute(superuser_url_of(server_url), "drop role meek")


async def test_a_server_without_the_extension_is_told_so(
    stopped: LocalMesh, server_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is migrated: the sentence names the extension and the package that has it."""
    monkeypatch.setattr(preflight, "EXTENSION", "btree_nothing")

    with pytest.raises(
        MigrationError, match=r"the server lacks the extension btree_nothing: install .* contrib package"
    ):
        await check_databases(stopped.settings_with(database_url=server_url), server_url)


async def test_a_service_started_alone_refuses_a_server_that_is_too_old(
    serve: Serve, database_url: DatabaseFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It checks the version by itself, since nobody else has looked."""
    mesh, url = await serve(), await database_url("gym")
    monkeypatch.setattr("mesh.migrations.OLDEST_SERVER", 1000)

    with pytest.raises(SettingsError, match=r"^DATABASE_URL: the server is PostgreSQL 18; the services need"):
        await mesh.start(GYM, url)


async def test_a_service_started_alone_refuses_a_database_without_its_tables(
    serve: Serve, empty_database_url: str
) -> None:
    """The sentence names the service and says how to get the tables."""
    mesh = await serve()

    with pytest.raises(SettingsError, match=r"^DATABASE_URL: the database of gym lacks the migrations 0001, "):
        await mesh.start(GYM, empty_database_url)


async def test_a_service_runs_on_a_database_that_is_ahead_of_it(serve: Serve, database_url: DatabaseFactory) -> None:
    """While replicas are replaced, an older one starts again beside newer ones."""
    mesh, url = await serve(), await database_url("gym")
    await execute(url, "insert into schema_migrations values ('9999')")
    try:
        await mesh.start(GYM, url)
    finally:
        await execute(url, "delete from schema_migrations where version = '9999'")


def test_a_span_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A service that is started alone says so in one sentence too."""
    (tmp_path / "file").touch()

    with pytest.raises(SettingsError, match=r"^SPAN_DIR: .*/file/spans cannot be created: Not a directory\.$"):
        make_span_folder(tmp_path / "file" / "spans")
