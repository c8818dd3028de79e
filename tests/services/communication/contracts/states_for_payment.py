"""States of the communication service in which the payment service has expectations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.services.communication.contracts.states_for_subscription import (
    a_template,
    a_template_with_other_variables,
    no_template,
)

if TYPE_CHECKING:
    from tests.support.consumers import States

STATES: States = {
    "a template with other variables": a_template_with_other_variables,
    "no template with that key": no_template,
    "the template PAYMENT_DISPUTED": a_template,
    "the template REFUND_FAILED": a_template,
}
