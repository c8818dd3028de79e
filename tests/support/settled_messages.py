"""Settled messages in the outbox of a service under test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.eventually import eventually

if TYPE_CHECKING:
    from tests.support.serving import MeshForTests

DELIVERED = "delivered"
_STATUSES = "select status, last_error from outbox where destination like '%/' || $1 order by sequence"


async def settled(mesh: MeshForTests, service: str, method: str) -> list[str]:
    """Wait until the messages of `service` for a method are settled; return DELIVERED or the last error of each."""
    found: list[tuple[str, str]] = []

    async def are_settled() -> bool:
        nonlocal found
        async with mesh.database(service).connection() as connection:
            found = [tuple(row) for row in await connection.fetch(_STATUSES, method)]
        return bool(found) and all(status != "pending" for status, _ in found)

    await eventually(are_settled)
    return [DELIVERED if status == DELIVERED else error for status, error in found]
