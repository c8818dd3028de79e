from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import pytest

from contracts.services import SERVICE_NAMES
from local import preflight
from local.postgres.server import EmbeddedPostgres
from local.service_databases import check_databases, database_url_of, migrate_all
from local.supervisor import Mesh
from mesh.config import SettingsError, child_environment, load_settings
from mesh.data.migrations import MigrationError
from mesh.telemetry.spans import make_span_folder
from services.gym.app import SERVICE as GYM
from tests.support.fake_postgres import fake_postgres
from tests.support.local_mesh import LocalMesh
from tests.support.postgres import connection_to, execute, superuser_url_of
from tests.support.sources import ROOT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.support.postgres import DatabaseFactory, PostgresForTests
    from tests.support.serving import Serve

NEEDS = "the server is PostgreSQL 15; the services need PostgreSQL 18 or newer."
CREATE_EXTENSION = re.compile(r"create extension (?:if not exists )?(\w+)", re.IGNORECASE)
# Placeholder for the address of the user service, which the test chooses.
USERS = "user:1"
# Created by the first service that starts or by the start itself.
TRACES_OF_A_START = ("logs", "keys", "postgres", "inbox")


@pytest.fixture
def stopped() -> Iterator[LocalMesh]:
    """Make a folder and ports for a mesh that is not running."""
    with LocalMesh.in_new_folder() as mesh:
        yield mesh


@pytest.fixture
async def server_url(postgres: PostgresForTests) -> AsyncIterator[str]:
    """Return the URL of the tests' server; drop the services' databases after the test."""
    yield postgres.url
    for name in SERVICE_NAMES:
        await execute(postgres.url, f"drop database if exists solo60_{name}")


async def databases_on(url: str) -> set[str]:
    """Return the services' databases on a server."""
    async with connection_to(url) as connection:
        rows = await connection.fetch(r"select datname from pg_database where datname like 'solo60\_%'")
    return {row["datname"] for row in rows}


async def error_of_start(mesh: LocalMesh, monkeypatch: pytest.MonkeyPatch, **settings: object) -> str:
    """Return the error message of a start that is rejected before any part has started."""
    for name, value in child_environment(**{**mesh.settings_by_name, **settings}).items():
        monkeypatch.setenv(name, value)
    reports: list[tuple[str, str]] = []
    with pytest.raises((SettingsError, MigrationError)) as caught:
        async with Mesh(load_settings(), lambda part, state: reports.append((part, state))):
            pass

    assert (reports, traces_of_a_start(mesh)) == ([], set())
    assert "\n" not in str(caught.value)
    return str(caught.value)


def error_of_command(mesh: LocalMesh, **settings: object) -> tuple[int, str]:
    """Return exit code and message of a `solo60 up` that is rejected before any part has started."""
    done = mesh.solo60("up", **settings)

    assert (done.stdout, done.stderr.count("\n")) == ("", 1), done.stdout + done.stderr
    assert traces_of_a_start(mesh) == set()
    return done.returncode, done.stderr.rstrip("\n")


def traces_of_a_start(mesh: LocalMesh) -> set[str]:
    """Return the files and folders that a start has left in the data folder."""
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
    """A wrong setting stops the start before any part starts.

    The error is one sentence that names the setting and repeats no secret.
    """
    value = value.replace(USERS, stopped.settings.url_of("user"))

    sentence = await error_of_start(stopped, monkeypatch, **{setting: value})

    assert sentence.startswith(beginning)
    assert "hunter2" not in sentence


@pytest.mark.system
def test_a_bad_setting_makes_the_command_print_only_the_error(stopped: LocalMesh) -> None:
    """`solo60 up` with a wrong setting prints only the error message and exits with code 2."""
    code, sentence = error_of_command(stopped, database_url="mysql://ada:hunter2@127.0.0.1/solo60")

    assert code == 2
    assert sentence.startswith('DATABASE_URL: must be "postgresql://')
    assert "hunter2" not in sentence


@pytest.mark.system
async def test_a_server_that_is_too_old_stops_start_and_migrations(stopped: LocalMesh) -> None:
    """A server that is too old stops `up` and migrations. The error names DATABASE_URL and both versions.

    README states the required version.
    """
    async with fake_postgres("15.18") as url:
        error = await asyncio.to_thread(error_of_command, stopped, database_url=url)
        assert error == (1, f"DATABASE_URL: {NEEDS}")
        with pytest.raises(MigrationError, match=f"^DATABASE_URL: {NEEDS}$"):
            await migrate_all(stopped.settings_with(database_url=url), url)


async def test_a_silent_server_is_reported_after_the_timeout(stopped: LocalMesh) -> None:
    """A start with a server that never answers fails after 5 s with an error that names DATABASE_URL."""

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as silent:
        url = f"postgresql://ada@127.0.0.1:{silent.sockets[0].getsockname()[1]}/solo60"
        with pytest.raises(MigrationError, match=r"^DATABASE_URL: the server does not answer within 5 s\.$"):
            await check_databases(stopped.settings_with(database_url=url), url)


async def test_an_unknown_migration_stops_all_migrations(stopped: LocalMesh, server_url: str) -> None:
    """An applied migration without a file stops all migrations before any database is created.

    The error names the service, its database and the migration.
    """
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
        "but its file is missing: switch to the branch or release that has the file."
    )
    assert await databases_on(server_url) == {"solo60_gym"}


@pytest.mark.system
async def test_an_unknown_migration_in_the_embedded_database_stops_the_start(stopped: LocalMesh) -> None:
    """If a database of the embedded server has an applied migration without a file, `up` fails before it migrates.

    PostgreSQL has to start first, because the check queries the database.
    """
    async with EmbeddedPostgres(stopped.settings.postgres_folder) as server:
        await execute(server.url, "create database solo60_gym")
        await execute(
            database_url_of(server.url, "gym"),
            "create table schema_migrations (version text primary key)",
            "insert into schema_migrations values ('9999')",
        )

    done = await asyncio.to_thread(stopped.solo60, "up")

    assert done.returncode == 1
    assert done.stderr.startswith("DATA_DIR: the database solo60_gym of gym does not fit this checkout: migration 9999")
    assert done.stderr.endswith("`make reset` empties it.\n")
    assert "migrating" not in done.stdout


async def test_a_role_that_may_not_create_databases_is_reported(stopped: LocalMesh, server_url: str) -> None:
    """If the role may not create databases, the check names the missing database and its service."""
    await execute(superuser_url_of(server_url), "create role meek login")
    url = server_url.replace("//solo60@", "//meek@")
    try:
        with pytest.raises(MigrationError, match=r"^DATABASE_URL: the database solo60_auth of auth is missing, "):
            await check_databases(stopped.settings_with(database_url=url), url)
    finally:
        await execute(superuser_url_of(server_url), "drop role meek")


async def test_a_missing_extension_is_reported(
    stopped: LocalMesh, server_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the server lacks an extension, the check names the extension and the package to install."""
    monkeypatch.setattr(preflight, "EXTENSIONS", ("btree_gist", "btree_nothing"))

    with pytest.raises(
        MigrationError, match=r"the server lacks the extension btree_nothing: install .* contrib package"
    ):
        await check_databases(stopped.settings_with(database_url=server_url), server_url)


def test_the_check_knows_the_extensions_of_all_migrations() -> None:
    """The check before the start looks for each extension that a migration creates."""
    files = [*ROOT.glob("services/*/migrations/*.sql"), *ROOT.glob("mesh/migrations/*.sql")]
    created = {found for path in files for found in CREATE_EXTENSION.findall(path.read_text(encoding="utf-8"))}

    assert created == set(preflight.EXTENSIONS)


async def test_a_service_started_alone_rejects_a_server_that_is_too_old(
    serve: Serve, database_url: DatabaseFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that is started alone checks the version of its server and rejects one that is too old."""
    mesh, url = await serve(), await database_url("gym")
    monkeypatch.setattr("mesh.data.migrations.MIN_SERVER_VERSION", 1000)

    with pytest.raises(SettingsError, match=r"^DATABASE_URL: the server is PostgreSQL 18; the services need"):
        await mesh.start(GYM, url)


async def test_a_service_started_alone_rejects_an_unmigrated_database(serve: Serve, empty_database_url: str) -> None:
    """A service that is started alone rejects a database with missing migrations and names them."""
    mesh = await serve()

    with pytest.raises(SettingsError, match=r"^DATABASE_URL: the database of gym lacks the migrations 000001, "):
        await mesh.start(GYM, empty_database_url)


async def test_a_service_runs_on_a_database_with_newer_migrations(serve: Serve, database_url: DatabaseFactory) -> None:
    """A service runs on a database with newer migrations, so that replicas can be replaced one by one."""
    mesh, url = await serve(), await database_url("gym")
    await execute(url, "insert into schema_migrations values ('9999')")
    try:
        await mesh.start(GYM, url)
    finally:
        await execute(url, "delete from schema_migrations where version = '9999'")


def test_a_span_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """The error for a span folder that cannot be made names SPAN_DIR and the reason."""
    (tmp_path / "file").touch()

    with pytest.raises(SettingsError, match=r"^SPAN_DIR: .*/file/spans cannot be created: Not a directory\.$"):
        make_span_folder(tmp_path / "file" / "spans")
