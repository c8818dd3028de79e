"""Domain of failed refunds: the money is back at the card processor, and the member has not received it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class FailedRefund:
    """Failed refund. `create_time` is the time of its first report."""

    processor_refund_id: str
    currency: str
    minor_units: int
    reason: str
    create_time: datetime


@dataclass(frozen=True, slots=True)
class FailedRefundReport:
    """Report of the card processor about a failed refund.

    `intent_id` is the payment intent of the refunded charge; empty if the charge has none.
    """

    processor_refund_id: str
    intent_id: str
    currency: str
    minor_units: int
    reason: str
