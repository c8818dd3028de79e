from __future__ import annotations

from pathlib import Path

import pytest

from contracts.scopes import outbox_calls
from contracts.services import short_service_name
from mesh.outbox.schema import OUTBOX

MIGRATION_FOLDERS = sorted((Path(__file__).parents[3] / "services").glob("*/migrations"))


@pytest.mark.parametrize("folder", MIGRATION_FOLDERS, ids=lambda folder: folder.parent.name)
def test_every_service_creates_the_same_outbox(folder: Path) -> None:
    """Migrations that create the outbox define it, its indexes and its trigger as mesh.outbox.schema does."""
    sql = "".join(path.read_text() for path in sorted(folder.glob("*.sql")))

    assert (OUTBOX in sql) == ("create table outbox" in sql)


@pytest.mark.parametrize("service", sorted({short_service_name(call) for call in outbox_calls()}))
def test_every_receiver_of_outbox_messages_has_an_outbox(service: str) -> None:
    """Every service that receives messages from outboxes has an outbox.

    A message that comes through a broker is stored there first.
    """
    (folder,) = (each for each in MIGRATION_FOLDERS if each.parent.name == service)

    assert any(OUTBOX in path.read_text() for path in folder.glob("*.sql"))
