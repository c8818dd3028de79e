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

    Both methods are idempotent per key, including concurrent calls. Both raise contracts.errors.Unavailable if the
    processor does not answer. The outcome is then unknown; repeat the call with the same key to learn the outcome.
    """

    async def charge(self, key: str, card_token: str, price: Price) -> CardOutcome:
        """Charge the price to the card, once per key. A repeated call returns the first outcome."""

    async def refund(self, key: str) -> bool:
        """Refund or prevent the charge of a key; return whether the charge had been captured.

        A captured charge is refunded in full. A charge that arrives later gets the outcome CALLED_OFF. The method is
        therefore safe to call while the outcome of the charge is unknown.
        """
