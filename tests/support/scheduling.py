"""Which worker runs what, in a run in several processes: a module is one piece of work, and the longest come first.

So no worker is left alone at the end with a long one, and the modules that share the running mesh share a worker:
each worker that needs that mesh would start one of its own.
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
# By how long they take, on two processors.
LONGEST = (
    "tests/system/test_readme.py",
    "tests/system/test_death.py",
    SHARE_THE_MESH,
    "tests/system/test_two_meshes.py",
    "tests/system/test_up.py",
    "tests/services/session/test_failure_modes.py",
    "tests/system/test_disk.py",
    "tests/chaos/test_chaos.py",
)


def piece_of(node_id: str) -> str:
    """Return the piece of work to which a test belongs."""
    module = node_id.split("::", 1)[0]
    return PIECES.get(module, module)


def longest_first(items: Iterable[pytest.Item]) -> list[pytest.Item]:
    """Return the tests with those of the longest pieces first, and else in their order."""
    places = {piece: place for place, piece in enumerate(LONGEST)}
    return sorted(items, key=lambda item: places.get(piece_of(item.nodeid), len(places)))


class PieceScheduling(LoadScopeScheduling):
    """Gives each worker whole pieces, in the order in which they were collected."""

    def _split_scope(self, nodeid: str) -> str:
        return piece_of(nodeid)
