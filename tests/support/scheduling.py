"""Distribution of test modules over pytest-xdist workers.

A module is one group. The slowest modules run first, so that no worker is left with a long one at the end.
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
SHARE_THE_CONSOLE = "tests of the console"
GROUPS = {
    "tests/attack/test_canaries.py": SHARE_THE_ATTACKED_MESH,
    "tests/attack/test_fuzz.py": SHARE_THE_ATTACKED_MESH,
    "tests/cli/test_mcp.py": SHARE_THE_MESH,
    "tests/system/test_booking.py": SHARE_THE_MESH,
    "tests/system/test_command_line.py": SHARE_THE_MESH,
    "tests/system/test_seed.py": SHARE_THE_MESH,
}
# Sorted by duration, measured on two processors.
SLOWEST = (
    SHARE_THE_CONSOLE,
    "tests/system/test_readme.py",
    "tests/system/test_restarts.py",
    SHARE_THE_MESH,
    "tests/system/test_two_meshes.py",
    "tests/system/journeys/test_journeys.py",
    "tests/system/test_one_process.py",
    "tests/system/test_up.py",
    "tests/services/session/test_failure_modes.py",
    "tests/system/test_disk.py",
    "tests/chaos/test_chaos.py",
)


def group_of(node_id: str) -> str:
    """Return the group that contains a test."""
    module = node_id.split("::", 1)[0]
    return SHARE_THE_CONSOLE if module.startswith("tests/console/") else GROUPS.get(module, module)


def slowest_first(items: Iterable[pytest.Item]) -> list[pytest.Item]:
    """Return the tests of the SLOWEST groups first, and the others in their original order."""
    places = {group: place for place, group in enumerate(SLOWEST)}
    return sorted(items, key=lambda item: places.get(group_of(item.nodeid), len(places)))


class GroupScheduling(LoadScopeScheduling):
    """Scheduler that gives workers whole groups in collection order."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)
