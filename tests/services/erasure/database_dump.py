"""Search for texts in dumps of whole databases, in every encoding in which the services could store them."""

from __future__ import annotations

import asyncio
import base64
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from local.postgres.installation import bundled_program

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# A line of this form begins the rows of a table: one row per line, with tabs between the cells, up to END_OF_ROWS.
ROWS_OF_TABLE = re.compile(r"COPY (\S+) \((.+)\) FROM stdin;")
END_OF_ROWS = r"\."
BYTEA = re.compile(r"\\\\x([0-9a-f]*)")
ESCAPED = re.compile(r"\\(.)")
ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


@dataclass(frozen=True, slots=True)
class Hit:
    """Place in which a text was found. Outside of tables, such as in a view, `table` is "" and `column` is the line."""

    table: str
    column: str
    text: str


async def find_texts(database_url: str, texts: Iterable[str | bytes]) -> list[Hit]:
    """Dump a database, and return each place that has one of `texts`: plain, in hex, base64 or quoted-printable.

    The case of letters is ignored. Columns of type bytea are searched as bytes, so texts inside of serialized messages
    and mails are found.
    """
    forms = {text: set(_forms_of(text if isinstance(text, bytes) else text.encode())) for text in texts}
    hits = set()
    for table, column, content in _cells_of(await _dump_of(database_url)):
        unfolded = content.replace(b"=\r\n", b"")  # soft line breaks of quoted-printable
        lower = content.lower() + b"\0" + unfolded.lower()
        hits |= {Hit(table, column, str(text)) for text, found in forms.items() if any(form in lower for form in found)}
    return sorted(hits, key=str)


async def _dump_of(database_url: str) -> str:
    program = bundled_program("pg_dump")
    assert program is not None
    process = await asyncio.create_subprocess_exec(
        program, f"--dbname={database_url}", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    dump, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return dump.decode()


def _cells_of(dump: str) -> Iterator[tuple[str, str, bytes]]:
    """Yield table, column and content of each cell, and each line outside of tables as a column of its own."""
    table = ""
    columns: list[str] = []
    for line in dump.split("\n"):
        if begin := ROWS_OF_TABLE.fullmatch(line):
            table, columns = begin[1], begin[2].split(", ")
        elif line == END_OF_ROWS:
            table, columns = "", []
        elif columns:
            yield from ((table, *cell) for cell in zip(columns, map(_content_of, line.split("\t")), strict=True))
        else:
            yield table, line, line.encode()


def _content_of(cell: str) -> bytes:
    if bytea := BYTEA.fullmatch(cell):
        return bytes.fromhex(bytea[1])
    return ESCAPED.sub(lambda found: ESCAPES.get(found[1], found[1]), cell).encode()


def _forms_of(text: bytes) -> Iterator[bytes]:
    for form in {text, text.lower(), text.upper()}:
        yield form.lower()
        yield form.hex().encode()
        yield b"".join(b"=%02x" % byte if byte > ord("~") else bytes([byte]) for byte in form).lower()
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            # The text may begin at three positions in a group. Its first and last group depend on the neighbours.
            for shift in range(3):
                whole = encode(b"\0" * shift + form)
                yield whole[4 if shift else 0 : len(whole) // 4 * 4 - 4].lower()
