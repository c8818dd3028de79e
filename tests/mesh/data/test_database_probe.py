from __future__ import annotations

import socket
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from mesh.data.database import Database, DatabaseUnavailable
from mesh.data.database_probe import database_trouble
from mesh.data.integrity import check_integrity
from mesh.data.migrations import MigrationError, migrate
from tests.support.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.postgres import PostgresForTests


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
    assert (await check_integrity(silent_url, tmp_path)).trouble.startswith("It does not answer within")
    with pytest.raises(DatabaseUnavailable, match="does not answer within"):
        await Database.connect(silent_url)
