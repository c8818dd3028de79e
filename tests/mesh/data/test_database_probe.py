from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from local.postgres.installation import PostgresError
from local.postgres.role import ensure_service_role
from mesh.data.database import Database, DatabaseUnavailable
from mesh.data.database_probe import database_trouble
from mesh.data.integrity import check_integrity
from mesh.data.migrations import MigrationError, migrate
from tests.support.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.support.postgres import PostgresForTests


def _message(kind: bytes, body: bytes) -> bytes:
    """Return a message of PostgreSQL's protocol (PostgreSQL documentation, "Message Formats")."""
    return kind + struct.pack("!i", len(body) + 4) + body


LOGIN_ACCEPTED = (
    _message(b"R", struct.pack("!i", 0))
    + _message(b"S", b"server_version\x0018.0\0")
    + _message(b"K", struct.pack("!ii", 1, 1))
    + _message(b"Z", b"I")
)
CONNECTION_ENDED = _message(b"E", b"SFATAL\0VFATAL\0C57P02\0Mpostmaster exited\0\0")


@pytest.fixture
async def dying_url() -> AsyncIterator[str]:
    """Serve connections like a PostgreSQL that is killed between login and first query; yield the URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        (length,) = struct.unpack("!i", await reader.readexactly(4))
        await reader.readexactly(length - 4)
        writer.write(LOGIN_ACCEPTED + CONNECTION_ENDED)
        await reader.read()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"postgresql://app:secret@127.0.0.1:{server.sockets[0].getsockname()[1]}/app?sslmode=disable"


@pytest.fixture
def silent_url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Listen like a suspended server that never answers, and shorten all connect timeouts; yield the URL."""
    monkeypatch.setattr("mesh.data.migrations.CONNECT_TIMEOUT_S", 0.2)
    monkeypatch.setattr("mesh.data.integrity.CONNECT_TIMEOUT_S", 0.2)
    monkeypatch.setattr("mesh.data.database.CONNECT_TIMEOUT_S", 0.2)
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield f"postgresql://app:secret@127.0.0.1:{server.getsockname()[1]}/app?sslmode=disable"


async def test_a_server_that_answers_has_no_trouble(postgres: PostgresForTests) -> None:
    """The probe reports no trouble for a server that answers."""
    assert await database_trouble(postgres.url) is None


async def test_a_silent_server_is_distinguished_from_one_that_refuses(silent_url: str) -> None:
    """The probe distinguishes a silent server from one that refuses connections."""
    silent = await database_trouble(silent_url, 0.2)
    refusing = await database_trouble(f"postgresql://app:secret@127.0.0.1:{free_ports(1)[0]}/app")

    assert (silent and silent.is_silent, refusing and refusing.is_silent) == (True, False)
    assert refusing is not None
    assert refusing.reason == "cannot be reached (Connection refused)"


async def test_a_silent_server_is_reported_within_the_timeout(silent_url: str, tmp_path: Path) -> None:
    """Migrating, examining and connecting report a silent server in a sentence after their connect timeout."""
    with pytest.raises(MigrationError, match="the server does not answer within"):
        await migrate(silent_url, tmp_path)
    assert (await check_integrity(silent_url, tmp_path)).trouble.startswith("The database does not answer within")
    with pytest.raises(DatabaseUnavailable, match="does not answer within"):
        await Database.connect(silent_url)


async def test_a_server_that_dies_before_the_first_query_is_reported(dying_url: str, tmp_path: Path) -> None:
    """A server that dies between login and first query is reported in a sentence, though asyncpg has its own error."""
    trouble = await database_trouble(dying_url, 2.0)

    assert trouble is not None
    assert not trouble.is_silent
    with pytest.raises(MigrationError, match="cannot be applied"):
        await migrate(dying_url, tmp_path)
    assert (await check_integrity(dying_url, tmp_path)).trouble.startswith("The database cannot be examined")
    with pytest.raises(PostgresError, match="cannot be reached"):
        await ensure_service_role(dying_url)
