from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.local_mesh import LocalMesh

pytestmark = pytest.mark.system

MEMBERS = 12
COUNTS = {
    "user": "select count(*) from users where email like '%.%.%@solo60.example'",
    "gym": "select count(*) from gyms where name in ('Field Street Gym', 'Liffey Quay')",
}
BOOKED = "select count(*) from sessions where idempotency_key like 'seed/77/%'"
REPEATED = (
    "select count(*) - count(distinct (user_id, gym_id, period)) from sessions where idempotency_key like 'seed/77/%'"
)


@pytest.mark.requirement("S6")
def test_seeding_twice_creates_nothing_twice(local_mesh: LocalMesh) -> None:
    """`seed` creates gyms, members and bookings. The same command again creates no second one of them."""
    counts = []
    for _ in range(2):
        done = local_mesh.solo60("seed", "--members", str(MEMBERS), "--random-seed", "77", "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["members"] == MEMBERS
        counts.append({service: _count(local_mesh, service, query) for service, query in COUNTS.items()})

    assert counts[0] == counts[1]
    assert counts[0]["user"] == MEMBERS
    assert counts[0]["gym"] == 2
    assert _count(local_mesh, "session", BOOKED) > MEMBERS / 2
    assert _count(local_mesh, "session", REPEATED) == 0


def _count(mesh: LocalMesh, service: str, query: str) -> int:
    done = mesh.solo60("psql", service, "--", "-At", "-c", query)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)
