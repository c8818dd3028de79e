from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.scheduling import LONGEST, PIECES, SHARE_THE_ATTACKED_MESH, SHARE_THE_MESH, piece_of

if TYPE_CHECKING:
    import pytest

ROOT = Path(__file__).parents[2]


def test_every_module_with_a_place_exists() -> None:
    """A module that was renamed would lose its place in silence."""
    modules = {*PIECES, *LONGEST} - set(PIECES.values())

    assert [module for module in sorted(modules) if not (ROOT / module).is_file()] == []


def test_all_who_use_one_running_mesh_share_a_worker(request: pytest.FixtureRequest) -> None:
    """Another worker would start a second mesh."""
    for mesh, piece in (("local_mesh", SHARE_THE_MESH), ("attacked_mesh", SHARE_THE_ATTACKED_MESH)):
        users = [item for item in request.session.items if mesh in getattr(item, "fixturenames", ())]

        assert {piece_of(item.nodeid) for item in users} <= {piece}
