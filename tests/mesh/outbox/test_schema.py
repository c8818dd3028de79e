from __future__ import annotations

from pathlib import Path

import pytest

from contracts.scopes import calls_left_to_outboxes
from contracts.services import short_name
from mesh.outbox.schema import OUTBOX

MIGRATION_FOLDERS = sorted((Path(__file__).parents[3] / "services").glob("*/migrations"))


@pytest.mark.parametrize("folder", MIGRATION_FOLDERS, ids=lambda folder: folder.parent.name)
def test_every_service_makes_the_outbox_alike(folder: Path) -> None:
    """Migrations that make the table make it, its indexes and its trigger, as the mesh expects them."""
    sql = "".join(path.read_text() for path in sorted(folder.glob("*.sql")))

    assert (OUTBOX in sql) == ("create table outbox" in sql)


@pytest.mark.parametrize("service", sorted({short_name(call) for call in calls_left_to_outboxes()}))
def test_every_service_that_outboxes_deliver_to_has_one_itself(service: str) -> None:
    """Part 3: what comes by way of a broker is stored there first."""
    (folder,) = (each for each in MIGRATION_FOLDERS if each.parent.name == service)

    assert any(OUTBOX in path.read_text() for path in folder.glob("*.sql"))
