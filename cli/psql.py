"""`solo60 psql`: psql on the database of one service, with the service's role."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated
from urllib.parse import unquote, urlsplit, urlunsplit

import typer

from cli.database_server import database_server
from cli.service_names import require_service
from cli.terminal import CommandError
from local.postgres.installation import bundled_program
from local.service_databases import database_url_of
from mesh.config import child_environment, load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mesh.config import Settings

PSQL = "psql"


def psql(
    service: Annotated[str, typer.Argument(metavar="SERVICE", help="Service that owns the database, such as gym.")],
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="-- OPTIONS", help="psql options, such as: -- -c 'select 1'")
    ] = None,
) -> None:
    """Open psql on a service's database, with the service's role.

    The database is at DATABASE_URL, else in the running mesh, else in DATA_DIR. Options of psql follow "--";
    `-- --csv -c QUERY` prints CSV for a script. The exit code is psql's.
    """
    raise typer.Exit(asyncio.run(_run(load_settings(), require_service(service), arguments or [])))


async def _run(settings: Settings, service: str, arguments: list[str]) -> int:
    if settings.database_url is None and not settings.postgres_folder.exists():
        raise CommandError(f"There is no database in {settings.data_dir.absolute()}. Create it with `make run`.")
    program = bundled_program(PSQL) or shutil.which(PSQL)
    if program is None:
        raise CommandError("psql is not installed. Run `make setup`, or install the package postgresql-client.")
    async with database_server(settings) as server_url:
        url, password = without_password(database_url_of(server_url, service))
        with _signal_ignored(signal.SIGINT):
            command = [program, *arguments, "--dbname", url]
            return subprocess.run(command, check=False, env=child_environment(pgpassword=password)).returncode  # noqa: ASYNC221, S603 - no other task is running, and the program is psql


def without_password(url: str) -> tuple[str, str | None]:
    """Split a URL into the URL without its password, and the password. Other accounts can read a command line."""
    parts = urlsplit(url)
    account, at, host = parts.netloc.rpartition("@")
    user = account.partition(":")[0]
    password = unquote(parts.password) if parts.password else None
    return urlunsplit(parts._replace(netloc=f"{user}{at}{host}")), password


@contextmanager
def _signal_ignored(number: signal.Signals) -> Iterator[None]:
    """Ignore a signal within the context, because Ctrl-C cancels a query in psql and must not end this process."""
    before = signal.signal(number, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(number, before)
