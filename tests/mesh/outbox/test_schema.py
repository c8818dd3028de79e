from __future__ import annotations

from pathlib import Path

import pytest

from mesh.outbox.schema import OUTBOX

MIGRATION_FOLDERS = sorted((Path(__file__).parents[3] / "services").glob("*/migrations"))


@pytest.mark.parametrize("folder", MIGRATION_FOLDERS, ids=lambda folder: folder.parent.name)
def test_every_service_makes_the_outbox_alike(folder: Path) -> None:
    """Migrations that make the table make it, its indexes and its trigger, as the mesh expects them."""
    sql = "".join(path.read_text() for path in sorted(folder.glob("*.sql")))

    assert (OUTBOX in sql) == ("create table outbox" in sql)
