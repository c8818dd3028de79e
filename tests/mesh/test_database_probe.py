from __future__ import annotations

import socket
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from mesh.database import Database, DatabaseUnavailable
from mesh.database_probe import database_trouble
from mesh.examination import examine
from mesh.migrations import MigrationError, migrate
from tests.support.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.postgres import PostgresForTests


@pytest.fixture
def silent_url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Take connections and say nothing, as a suspended server does; nobody's patience is long here."""
    monkeypatch.setattr("mesh.migrations.CONNECT_TIMEOUT_S", 0.2)
    monkeypatch.setattr("mesh.examination.CONNECT_TIMEOUT_S", 0.2)
    monkeypatch.setattr("mesh.database.CONNECT_TIMEOUT_S", 0.2)
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield f"postgresql://app:secret@127.0.0.1:{server.getsockname()[1]}/app?sslmode=disable"


async def test_a_server_that_answers_has_no_trouble(postgres: PostgresForTests) -> None:
    """The probe changes nothing, and leaves no connection."""
    assert await database_trouble(postgres.url) is None


async def test_a_silent_server_is_told_from_one_that_refuses(silent_url: str) -> None:
    """The one has to be woken, the other to be started."""
    silent = await database_trouble(silent_url, 0.2)
    refusing = await database_trouble(f"postgresql://app:secret@127.0.0.1:{free_ports(1)[0]}/app")

    assert (silent and silent.is_silent, refusing and refusing.is_silent) == (True, False)
    assert refusing is not None
    assert refusing.reason == "cannot be reached (Connection refused)"


async def test_nobody_waits_for_a_silent_server(silent_url: str, tmp_path: Path) -> None:
    """A start, `migrate` and `doctor` name it in a sentence, instead of waiting for a minute."""
    with pytest.raises(MigrationError, match="the server does not answer within"):
        await migrate(silent_url, tmp_path)
    assert (await examine(silent_url, tmp_path)).trouble.startswith("It does not answer within")
    with pytest.raises(DatabaseUnavailable, match="does not answer within"):
        await Database.connect(silent_url)
