"""Check of card tokens in test mode."""

from __future__ import annotations

from contracts.errors import CardDeclined

# The only card token that test mode accepts.
ACCEPTED_CARD_TOKEN = "tok_visa"  # noqa: S105 - a test card, not a secret


def require_accepted_card(card_token: str) -> None:
    """Raise CardDeclined unless test mode accepts `card_token`. Charges nothing."""
    if card_token != ACCEPTED_CARD_TOKEN:
        raise CardDeclined
