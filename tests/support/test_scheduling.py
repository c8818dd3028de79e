from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.scheduling import (
    GROUPS,
    SHARE_THE_ATTACKED_MESH,
    SHARE_THE_CONSOLE,
    SHARE_THE_MESH,
    SLOWEST,
    group_of,
)

if TYPE_CHECKING:
    import pytest

ROOT = Path(__file__).parents[2]


def test_every_scheduled_module_exists() -> None:
    """Every module in GROUPS and SLOWEST exists, because a renamed one would lose its place unnoticed."""
    modules = {*GROUPS, *SLOWEST} - {SHARE_THE_CONSOLE, *GROUPS.values()}

    assert [module for module in sorted(modules) if not (ROOT / module).is_file()] == []


def test_all_tests_of_one_running_mesh_share_a_worker(request: pytest.FixtureRequest) -> None:
    """All tests with the fixture local_mesh or attacked_mesh are in that mesh's group, so that one worker runs them."""
    for mesh, group in (("local_mesh", SHARE_THE_MESH), ("attacked_mesh", SHARE_THE_ATTACKED_MESH)):
        users = [item for item in request.session.items if mesh in getattr(item, "fixturenames", ())]

        assert {group_of(item.nodeid) for item in users} <= {group}
