"""Tracebacks for the log, without the values that database errors quote."""

from __future__ import annotations

import sys
import textwrap
import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_BECAUSE = "\nThe above exception was the direct cause of the following exception:\n\n"
_MEANWHILE = "\nDuring handling of the above exception, another exception occurred:\n\n"


def traceback_text(error: BaseException) -> str:
    """Return the traceback of `error`, its causes and its grouped errors, the first cause first.

    A PostgreSQL error is printed without its DETAIL, because the DETAIL holds the row. A data error (class 22) of the
    driver or the server quotes the rejected value in its message. So the message is omitted, also in its causes.
    """
    return "".join(_paragraphs(error, set(), quotes_values=False)).rstrip("\n")


def _paragraphs(error: BaseException, seen: set[int], *, quotes_values: bool) -> Iterator[str]:
    seen.add(id(error))
    quotes_values = quotes_values or _is_of_driver(error, "DataError")
    earlier = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if earlier is not None and id(earlier) not in seen:
        yield from _paragraphs(earlier, seen, quotes_values=quotes_values)
        yield _BECAUSE if error.__cause__ else _MEANWHILE
    yield "Traceback (most recent call last):\n"
    yield from traceback.format_tb(error.__traceback__)
    text = "" if quotes_values else _text(error)
    yield f"{_name(type(error))}: {text}\n" if text else f"{_name(type(error))}\n"
    if isinstance(error, BaseExceptionGroup):
        for number, each in enumerate(error.exceptions, 1):
            grouped = "".join(_paragraphs(each, seen, quotes_values=quotes_values))
            yield textwrap.indent(f"{number} of {len(error.exceptions)}: {grouped}", "  ")


def _text(error: BaseException) -> str:
    if _is_of_driver(error, "PostgresError"):
        return str(error.args[0]) if error.args else ""
    return str(error)


def _is_of_driver(error: BaseException, name: str) -> bool:
    """Return whether `error` is an asyncpg error of the class `name`."""
    # A process that has not imported the driver has no such error. Importing it here would cost the console 4 MiB.
    driver = sys.modules.get("asyncpg")
    return driver is not None and isinstance(error, getattr(driver, name))


def _name(kind: type[BaseException]) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
