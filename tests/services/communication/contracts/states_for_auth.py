"""States of the communication service in which the auth service has expectations."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from tests.support.serving import MeshForTests

TEMPLATES = ("ACCOUNT_VERIFICATION", "EMAIL_CONFIRMATION", "PASSWORD_CHANGED", "PASSWORD_RESET", "TOKEN_REUSED")


async def a_template(_mesh: MeshForTests) -> dict[str, object]:
    """Return the id of a new message. The service has the templates from its start."""
    return {"message_id": str(uuid4())}


async def no_template(_mesh: MeshForTests) -> dict[str, object]:
    """Return the key of no template."""
    return {"template_key": "NO_SUCH_TEMPLATE"}


async def a_template_with_other_variables(_mesh: MeshForTests) -> dict[str, object]:
    """Return the key of a template with variables that no mail of the auth service has."""
    return {"template_key": "APPROVAL_REQUESTED"}


STATES: Mapping[str, Callable[[MeshForTests], Awaitable[Mapping[str, object]]]] = {
    "a template with other variables": a_template_with_other_variables,
    "no template with that key": no_template,
    **{f"the template {key}": a_template for key in TEMPLATES},
}
