"""States of the payment service in which the subscription service has expectations."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

if TYPE_CHECKING:
    from tests.support.consumers import States
    from tests.support.serving import MeshForTests


async def a_user_without_credits(_mesh: MeshForTests) -> dict[str, object]:
    """Return the id of a user who never had credits."""
    return {"user_id": str(uuid4())}


STATES: States = {"a user without credits": a_user_without_credits}
