from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from cli.psql import without_password
from mesh.postgres import EmbeddedPostgres
from mesh.postgres_role import SERVICE_ROLE
from mesh.service_databases import database_url_of
from tests.support.postgres import connection_to
from tests.support.terminal import solo60_in_terminal

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Solo60
    from tests.support.postgres import PostgresForTests

WHO = ("--", "--csv", "--tuples-only", "-c", "select current_user, current_database()")


async def execute(url: str, statement: str) -> None:
    """Execute a statement on a connection of its own."""
    async with connection_to(url) as connection:
        await connection.execute(statement)


@pytest.fixture
def server_url(postgres: PostgresForTests, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make the tests' server the one of DATABASE_URL."""
    monkeypatch.setenv("DATABASE_URL", postgres.url.replace(f"{SERVICE_ROLE}@", f"{SERVICE_ROLE}:any%2Fpassword@"))
    return postgres.url


def test_psql_is_the_service_in_its_database(solo60: Solo60, server_url: str) -> None:
    """Nobody has to know a URL or a role."""
    asyncio.run(execute(server_url, "create database solo60_gym"))
    try:
        done = solo60("psql", "gym", *WHO)
        failed = solo60("psql", "gym", "--", "-v", "ON_ERROR_STOP=1", "-c", "select 1 / 0")
    finally:
        asyncio.run(execute(server_url, "drop database solo60_gym"))

    assert (done.exit_code, done.out) == (0, f"{SERVICE_ROLE},solo60_gym\n")
    assert failed.exit_code == 1
    assert "division by zero" in failed.err


def test_psql_is_a_shell_in_a_terminal(server_url: str) -> None:
    """It asks, answers, and ends with the person's word."""
    asyncio.run(execute(server_url, "create database solo60_gym"))
    try:
        code, shown = solo60_in_terminal("psql", "gym", columns=80, typed=b"select 6 * 7 as answer;\n\\q\n")
    finally:
        asyncio.run(execute(server_url, "drop database solo60_gym"))

    assert code == 0
    assert "solo60_gym=>" in shown
    assert "42" in shown


def test_psql_runs_the_kept_database_while_it_needs_it(
    solo60: Solo60, monkeypatch: pytest.MonkeyPatch, reachable_folder: Path
) -> None:
    """The mesh does not have to be up."""
    monkeypatch.setenv("DATA_DIR", str(reachable_folder / "data"))

    async def keep_a_database() -> None:
        async with EmbeddedPostgres(reachable_folder / "data" / "postgres") as kept:
            await execute(kept.url, "create database solo60_user")

    asyncio.run(keep_a_database())

    assert solo60("psql", "user", *WHO).out == f"{SERVICE_ROLE},solo60_user\n"


def test_without_a_database_or_a_service_there_is_a_sentence(solo60: Solo60, tmp_path: Path) -> None:
    """Nothing is made by asking."""
    assert solo60("psql", "gym").err == f"There is no database in {tmp_path}. Create it with `make run`.\n"
    assert solo60("psql", "gmy").err.startswith('"gmy" is not a service. Services: auth, ')
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("server_url")
def test_without_any_psql_the_sentence_says_how_to_get_one(solo60: Solo60, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wheel's is taken first, then the system's."""
    monkeypatch.setattr("mesh.postgres_place.importlib.util.find_spec", lambda _name: None)
    monkeypatch.setenv("PATH", "/nowhere")

    done = solo60("psql", "gym")

    assert done.exit_code == 1
    assert done.err == "psql is not installed. Run `make setup`, or install the package postgresql-client.\n"


def test_a_password_is_on_no_command_line() -> None:
    """Other accounts can read those."""
    url = database_url_of("postgresql://ada:p%2Fw@db:5432/x?sslmode=require", "gym")

    assert without_password(url) == ("postgresql://ada@db:5432/solo60_gym?sslmode=require", "p/w")
    assert without_password("postgresql://db/x") == ("postgresql://db/x", None)
