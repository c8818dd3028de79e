"""Interface to card processors."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from services.payment.domain import Price


class CardOutcome(StrEnum):
    """Outcome of a charge."""

    CAPTURED = "captured"
    DECLINED = "declined"
    CALLED_OFF = "called_off"


class CardProcessor(Protocol):
    """Interface to a card processor.

    All methods are idempotent per key, including concurrent calls. They raise contracts.errors.Unavailable if the
    processor does not answer. The outcome is then unknown; repeat the call with the same key to learn the outcome.
    """

    async def charge(self, key: str, card_token: str, price: Price) -> CardOutcome:
        """Charge the price to the card, once per key. A repeated call returns the first outcome."""

    async def refund(self, key: str) -> bool:
        """Refund or prevent the charge of a key; return whether the charge had been captured.

        All that is left of a captured charge is refunded. A charge that arrives later gets the outcome CALLED_OFF. The
        method is therefore safe to call while the outcome of the charge is unknown.
        """

    async def refund_part(self, key: str, refund_key: str, minor_units: int) -> bool:
        """Refund a part of the captured charge of a key, once per `refund_key`.

        Return False if the processor rejects the refund and has returned nothing. The same refund key must not be used
        with other arguments.
        """
