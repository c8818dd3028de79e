"""States of the communication service in which the subscription service has expectations."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

if TYPE_CHECKING:
    from tests.support.consumers import States
    from tests.support.serving import MeshForTests

TEMPLATES = (
    "PAYMENT_FAILED",
    "PAYMENT_SUCCESS",
    "RENEWAL_REMINDER",
    "SUBSCRIPTION_ACTIVATED",
    "SUBSCRIPTION_EXPIRED",
    "SUBSCRIPTION_RESUMED",
    "TRIAL_ENDING",
)


async def a_template(_mesh: MeshForTests) -> dict[str, object]:
    """Return the id of a recipient. The service has the templates from its start."""
    return {"user_id": str(uuid4())}


async def no_template(mesh: MeshForTests) -> dict[str, object]:
    """Return the key of no template."""
    return {"template_key": "NO_SUCH_TEMPLATE", **await a_template(mesh)}


async def a_template_with_other_variables(mesh: MeshForTests) -> dict[str, object]:
    """Return the key of a template with a variable that is missing in all mails that are expected to fail."""
    return {"template_key": "REFUND_FAILED", **await a_template(mesh)}


STATES: States = {
    "a template with other variables": a_template_with_other_variables,
    "no template with that key": no_template,
    **{f"the template {key}": a_template for key in TEMPLATES},
}
