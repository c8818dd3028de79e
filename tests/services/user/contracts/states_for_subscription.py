"""States of the user service in which the subscription service has expectations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.services.user.contracts.states_for_auth import (
    a_changed_user,
    a_suspended_user,
    a_user_who_has_left,
    an_active_user,
    no_user,
)

if TYPE_CHECKING:
    from tests.support.consumers import States
    from tests.support.serving import MeshForTests


async def an_active_user_in_new_york(mesh: MeshForTests) -> dict[str, object]:
    """Add a user with a time zone."""
    return await a_changed_user(mesh, time_zone="America/New_York")


STATES: States = {
    "a suspended user": a_suspended_user,
    "a user who has left": a_user_who_has_left,
    "an active user": an_active_user,
    "an active user in New York": an_active_user_in_new_york,
    "no user": no_user,
}
