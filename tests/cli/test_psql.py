from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from cli.psql import without_password
from local.postgres.role import SERVICE_ROLE
from local.postgres.server import EmbeddedPostgres
from local.service_databases import database_url_of
from tests.support.postgres import execute
from tests.support.terminal import solo60_in_terminal

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Solo60
    from tests.support.postgres import PostgresForTests

QUERY = ("--", "--csv", "--tuples-only", "-c", "select current_user, current_database()")


@pytest.fixture
def server_url(postgres: PostgresForTests, monkeypatch: pytest.MonkeyPatch) -> str:
    """Set DATABASE_URL to the tests' server, with an escaped password."""
    monkeypatch.setenv("DATABASE_URL", postgres.url.replace(f"{SERVICE_ROLE}@", f"{SERVICE_ROLE}:any%2Fpassword@"))
    return postgres.url


def test_psql_connects_as_the_service_to_its_database(solo60: Solo60, server_url: str) -> None:
    """`psql` runs statements in the service's database with the service's role, and fails if a statement fails."""
    asyncio.run(execute(server_url, "create database solo60_gym"))
    try:
        done = solo60("psql", "gym", *QUERY)
        failed = solo60("psql", "gym", "--", "-v", "ON_ERROR_STOP=1", "-c", "select 1 / 0")
    finally:
        asyncio.run(execute(server_url, "drop database solo60_gym"))

    assert (done.exit_code, done.out) == (0, f"{SERVICE_ROLE},solo60_gym\n")
    assert failed.exit_code == 1
    assert "division by zero" in failed.err


def test_psql_is_interactive_in_a_terminal(server_url: str) -> None:
    """`psql` in a terminal shows a prompt, runs typed statements, and exits with 0 when the user quits."""
    asyncio.run(execute(server_url, "create database solo60_gym"))
    try:
        code, shown = solo60_in_terminal("psql", "gym", columns=80, typed=b"select 6 * 7 as answer;\n\\q\n")
    finally:
        asyncio.run(execute(server_url, "drop database solo60_gym"))

    assert code == 0
    assert "solo60_gym=>" in shown
    assert "42" in shown


def test_psql_starts_the_database_of_a_stopped_mesh(
    solo60: Solo60, monkeypatch: pytest.MonkeyPatch, reachable_folder: Path
) -> None:
    """`psql` runs the embedded PostgreSQL of DATA_DIR itself when the mesh is not running."""
    monkeypatch.setenv("DATA_DIR", str(reachable_folder / "data"))

    async def create_database() -> None:
        async with EmbeddedPostgres(reachable_folder / "data" / "postgres") as server:
            await execute(server.url, "create database solo60_user")

    asyncio.run(create_database())

    assert solo60("psql", "user", *QUERY).out == f"{SERVICE_ROLE},solo60_user\n"


def test_a_missing_database_and_an_unknown_service_are_reported(solo60: Solo60, tmp_path: Path) -> None:
    """`psql` reports a missing database and an unknown service, and creates nothing in DATA_DIR."""
    assert solo60("psql", "gym").err == f"There is no database in {tmp_path}. Create it with `make run`.\n"
    assert solo60("psql", "gmy").err.startswith('"gmy" is not a service. Services: auth, ')
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("server_url")
def test_a_missing_psql_is_reported_with_its_package(solo60: Solo60, monkeypatch: pytest.MonkeyPatch) -> None:
    """`psql` says how to install psql if neither the wheel nor PATH provides it."""
    monkeypatch.setattr("local.postgres.installation.importlib.util.find_spec", lambda _name: None)
    monkeypatch.setenv("PATH", "/nowhere")

    done = solo60("psql", "gym")

    assert done.exit_code == 1
    assert done.err == "psql is not installed. Run `make setup`, or install the package postgresql-client.\n"


def test_the_password_is_not_in_the_url_for_psql() -> None:
    """The URL for psql's command line lacks the password, because other accounts can read command lines."""
    url = database_url_of("postgresql://ada:p%2Fw@db:5432/x?sslmode=require", "gym")

    assert without_password(url) == ("postgresql://ada@db:5432/solo60_gym?sslmode=require", "p/w")
    assert without_password("postgresql://db/x") == ("postgresql://db/x", None)
