"""Setup of logging: lines are JSON and contain no row values from database errors."""

from __future__ import annotations

import json
import subprocess
import sys

import asyncpg
import pytest

from mesh.telemetry.tracebacks import traceback_text
from tests.support.postgres import connection_to

EMAIL = "dana@example.com"
LOG_A_CONFLICT = """
import asyncio, logging, sys
import asyncpg, structlog
from mesh.config import Settings
from mesh.telemetry.setup import set_up_logging

async def main():
    connection = await asyncpg.connect(sys.argv[1])
    await connection.execute("create table users (email text constraint one_user unique)")
    await connection.execute("insert into users values ($1)", sys.argv[2])
    try:
        await connection.execute("insert into users values ($1)", sys.argv[2])
    except asyncpg.PostgresError as error:
        assert sys.argv[2] in str(error)
        structlog.stdlib.get_logger("ours").error("ours", exc_info=error)
        logging.getLogger("theirs").exception("theirs")
    await connection.close()

set_up_logging(Settings(_env_file=None), "user")
asyncio.run(main())
"""


def test_no_log_line_holds_the_row_of_a_database_error(empty_database_url: str) -> None:
    """The log line of a database error names the violated constraint and omits the row.

    Log lines of libraries omit the row too.
    """
    done = subprocess.run(
        [sys.executable, "-c", LOG_A_CONFLICT, empty_database_url, EMAIL], check=True, capture_output=True, text=True
    )

    lines = [json.loads(line) for line in done.stdout.splitlines()]

    assert [(line["service"], line["event"]) for line in lines] == [("user", "ours"), ("user", "theirs")]
    assert all(line["exception"].endswith('violates unique constraint "one_user"') for line in lines)
    assert EMAIL not in done.stdout + done.stderr


UNCAUGHT = """
import asyncio, sys, threading
import asyncpg
from mesh.config import Settings
from mesh.telemetry.setup import set_up_logging

async def main():
    connection = await asyncpg.connect(sys.argv[1])
    try:
        await connection.execute("create table users (email text constraint one_user unique)")
        await connection.execute("insert into users values ($1)", sys.argv[2])
        await connection.execute("insert into users values ($1)", sys.argv[2])
    finally:
        await connection.close()

class Finalized:
    def __del__(self):
        asyncio.run(main())

set_up_logging(Settings(_env_file=None), "user")
match sys.argv[3]:
    case "main": asyncio.run(main())
    case "thread":
        thread = threading.Thread(target=asyncio.run, args=(main(),))
        thread.start()
        thread.join()
    case "finalizer": Finalized()
"""


@pytest.mark.parametrize(
    ("place", "level", "code"), [("main", "critical", 1), ("thread", "error", 0), ("finalizer", "error", 0)]
)
def test_an_uncaught_exception_is_logged(empty_database_url: str, place: str, level: str, code: int) -> None:
    """An uncaught exception is logged as one line of JSON without the row.

    Standard error stays empty.
    """
    done = subprocess.run(
        [sys.executable, "-c", UNCAUGHT, empty_database_url, EMAIL, place], check=False, capture_output=True, text=True
    )

    (line,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert (line["level"], line["service"], done.returncode) == (level, "user", code)
    assert line["exception"].endswith('violates unique constraint "one_user"')
    assert EMAIL not in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("statement", ["select $1::uuid", "select $1::text::uuid"])
async def test_a_rejected_value_is_not_in_the_traceback(empty_database_url: str, statement: str) -> None:
    """The traceback of a data error names its type and omits its message, which quotes the value."""
    async with connection_to(empty_database_url) as connection:
        with pytest.raises(asyncpg.DataError, match=EMAIL) as caught:
            await connection.fetchval(statement, EMAIL)

    text = traceback_text(caught.value)

    assert EMAIL not in text
    assert type(caught.value).__qualname__ in text.splitlines()[-1]


def test_causes_and_groups_are_in_the_traceback() -> None:
    """A traceback contains the causes of an error, in the order of events, and each error of a group."""
    error = RuntimeError("the last")
    error.__cause__ = ValueError("the first")
    error.__cause__.__context__ = error  # a cycle must not loop forever

    text = traceback_text(ExceptionGroup("several", [error, KeyError("another")]))

    words = ["several (2 sub-exceptions)", "1 of 2", "ValueError: the first", "RuntimeError: the last", "'another'"]
    places = [text.index(word) for word in words]
    assert places == sorted(places)


def test_a_suppressed_context_is_not_in_the_traceback() -> None:
    """The traceback of `raise ... from None` omits the previous exception."""
    with pytest.raises(LookupError) as caught:
        _raise_from_none()

    assert EMAIL not in traceback_text(caught.value)


def _raise_from_none() -> None:
    try:
        int(EMAIL)
    except ValueError:
        raise LookupError("nobody") from None
