"""Search for texts in whole databases, in every encoding in which the services could store them."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mesh.data.database import Database

# Every table, materialized view and sequence of the services.
_TABLES = """
    select format('%I.%I', schemaname, tablename) from pg_tables
    where schemaname not in ('pg_catalog', 'information_schema') order by 1
"""


@dataclass(frozen=True, slots=True)
class Hit:
    """Place in which a text was found."""

    table: str
    column: str
    text: str


async def find_texts(database: Database, texts: Iterable[str | bytes]) -> list[Hit]:
    """Return every column of every row that contains one of `texts`: plain, in hex, in base64 or in quoted-printable.

    The case of letters is ignored. Columns of type bytea are searched as bytes, so texts inside of serialized messages
    and mails are found.
    """
    forms = {text: set(_forms_of(text if isinstance(text, bytes) else text.encode())) for text in texts}
    hits = set()
    async with database.connection() as connection:
        for (table,) in await connection.fetch(_TABLES):
            for row in await connection.fetch(f"select * from {table}"):  # noqa: S608 - the database's own names
                for column, value in row.items():
                    content = value if isinstance(value, bytes) else str(value).encode()
                    unfolded = content.replace(b"=\r\n", b"")  # soft line breaks of quoted-printable
                    lower = content.lower() + b"\0" + unfolded.lower()
                    hits |= {
                        Hit(table, column, str(text))
                        for text, found in forms.items()
                        if any(form in lower for form in found)
                    }
    return sorted(hits, key=str)


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
