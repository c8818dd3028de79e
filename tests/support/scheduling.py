"""Distribution of test modules over pytest-xdist workers.

A module is one piece of work. The longest modules run first, so that no worker is left with a long one at the end.
Modules that share a running mesh run on the same worker, because each worker would start its own mesh.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pytest

SHARE_THE_MESH = "tests that share the running mesh"
SHARE_THE_ATTACKED_MESH = "attacks on one mesh"
PIECES = {
    "tests/attack/test_canaries.py": SHARE_THE_ATTACKED_MESH,
    "tests/attack/test_fuzz.py": SHARE_THE_ATTACKED_MESH,
    "tests/system/test_booking.py": SHARE_THE_MESH,
    "tests/system/test_command_line.py": SHARE_THE_MESH,
}
# Sorted by duration, measured on two processors.
LONGEST = (
    "tests/system/test_readme.py",
    "tests/system/test_restarts.py",
    SHARE_THE_MESH,
    "tests/system/test_two_meshes.py",
    "tests/system/test_up.py",
    "tests/services/session/test_failure_modes.py",
    "tests/system/test_disk.py",
    "tests/chaos/test_chaos.py",
)


def piece_of(node_id: str) -> str:
    """Return the piece of work that contains a test."""
    module = node_id.split("::", 1)[0]
    return PIECES.get(module, module)


def longest_first(items: Iterable[pytest.Item]) -> list[pytest.Item]:
    """Return the tests of the LONGEST pieces first, and the others in their original order."""
    places = {piece: place for place, piece in enumerate(LONGEST)}
    return sorted(items, key=lambda item: places.get(piece_of(item.nodeid), len(places)))


class PieceScheduling(LoadScopeScheduling):
    """Scheduler that gives workers whole pieces in collection order."""

    def _split_scope(self, nodeid: str) -> str:
        return piece_of(nodeid)
