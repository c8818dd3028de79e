"""Interface to the card processor of subscriptions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from services.subscription.domain import Subscription
    from services.subscription.order import Order


class CardProcessor(Protocol):
    """Card processor that charges each period of a subscription, and reports by webhook.

    No method is called inside a transaction. Each is idempotent, and raises contracts.errors.Unavailable if the
    processor does not answer. The outcome is then unknown; repeat the call to learn it.
    """

    async def start(self, order: Order, card_token: str) -> str:
        """Start the subscription of an order, and return its id at the processor, or "" if it has none.

        Charges the card immediately if there is no trial. Raises CardDeclined.
        """

    async def find(self, order: Order) -> str | None:
        """Return the result of an earlier `start` of the order; None if the processor has not started it."""

    async def sync(self, subscription: Subscription) -> None:
        """Cancel or resume the subscription at the processor as it is cancelled or resumed here."""

    async def discard(self, order: Order) -> None:
        """Cancel the subscription of an order that cannot be stored."""

    async def replace_card(self, subscription: Subscription, card_token: str, key: str) -> None:
        """Charge another card from now on, and at once if a charge has failed. Raises CardDeclined."""

    async def catch_up(self, subscription: Subscription) -> None:
        """Process the reports of the processor that have not arrived."""
