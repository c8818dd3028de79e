"""States of the user service in which it has expectations of itself, through its outbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.services.user.contracts.states_for_auth import a_user_who_is_being_erased, no_user

if TYPE_CHECKING:
    from tests.support.consumers import States

STATES: States = {
    "a user who is being erased": a_user_who_is_being_erased,
    "no user": no_user,
}
