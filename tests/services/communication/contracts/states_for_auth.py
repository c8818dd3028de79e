"""States of the communication service in which the auth service has expectations."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

from tests.services.communication.contracts.states_for_subscription import (
    a_template_with_other_variables,
    no_template,
)

if TYPE_CHECKING:
    from tests.support.consumers import States
    from tests.support.serving import MeshForTests

TEMPLATES = ("ACCOUNT_VERIFICATION", "EMAIL_CONFIRMATION", "PASSWORD_CHANGED", "PASSWORD_RESET", "TOKEN_REUSED")


async def a_template(_mesh: MeshForTests) -> dict[str, object]:
    """Return the id of a new message. The service has the templates from its start."""
    return {"message_id": str(uuid4())}


STATES: States = {
    "a template with other variables": a_template_with_other_variables,
    "no template with that key": no_template,
    **{f"the template {key}": a_template for key in TEMPLATES},
}
