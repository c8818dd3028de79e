"""States of the communication service in which the session service has expectations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.services.communication.contracts.states_for_subscription import (
    a_template,
    a_template_with_other_variables,
    no_template,
)

if TYPE_CHECKING:
    from tests.support.consumers import States

TEMPLATES = (
    "APPROVAL_REQUESTED",
    "GUEST_INVITED",
    "GUEST_SESSION_CANCELLED",
    "GUEST_SESSION_RESCHEDULED",
    "NOISE_WARNING",
    "SESSION_APPROVED",
    "SESSION_BOOKED",
    "SESSION_CANCELLED",
    "SESSION_REJECTED",
    "SESSION_RESCHEDULED",
    "SLOT_OFFERED",
    "SPOT_AVAILABLE",
)

STATES: States = {
    "a template with other variables": a_template_with_other_variables,
    "no template with that key": no_template,
    **{f"the template {key}": a_template for key in TEMPLATES},
}
