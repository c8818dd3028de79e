"""Cards: what payment asks of a card company, and the company that test mode has in its place."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from mesh.database import Database
    from services.payment.domain import Price

GOOD_TOKEN = "tok_visa"  # noqa: S105 - the name of a test card, which opens nothing


class CardOutcome(StrEnum):
    """What became of a charge."""

    CAPTURED = "captured"
    DECLINED = "declined"
    CALLED_OFF = "called_off"


class CardProcessor(Protocol):
    """A card company. Both calls may be repeated with the same key at any time, also at once, and change nothing then.

    Both raise contracts.errors.Unavailable when the company does not answer. That leaves open whether it did as asked:
    asking again with the same key finds out.
    """

    async def charge(self, key: str, card_token: str, price: Price) -> CardOutcome:
        """Take the price's money from the card, once for each key; answer a repetition as the first time."""

    async def give_back(self, key: str) -> bool:
        """See to it that the charge of this key costs nothing, and return whether it had taken money.

        A captured charge is returned in full. One that has not arrived is CALLED_OFF when it does: so it is safe to
        call where nobody knows how far the charge came.
        """


class TestModeProcessor:
    """Charges "tok_visa", declines every other card, and keeps its books where a restart does not lose them."""

    __test__ = False  # its name is no test's

    def __init__(self, database: Database) -> None:
        self._database = database

    async def charge(self, key: str, card_token: str, price: Price) -> CardOutcome:
        """Decide by the token, at the first charge of a key."""
        outcome = CardOutcome.CAPTURED if card_token == GOOD_TOKEN else CardOutcome.DECLINED
        async with self._database.connection() as connection:
            await connection.execute(
                "insert into card_charges (idempotency_key, outcome, currency, minor_units) values ($1, $2, $3, $4)"
                " on conflict do nothing",
                key,
                outcome,
                price.currency,
                price.minor_units,
            )
            kept = await connection.fetchval("select outcome from card_charges where idempotency_key = $1", key)
        return CardOutcome(kept)

    async def give_back(self, key: str) -> bool:
        """Return a captured charge, or keep one from being made."""
        async with self._database.connection() as connection:
            returned = await connection.fetchval(
                "insert into card_charges (idempotency_key, outcome) values ($1, 'called_off')"
                " on conflict (idempotency_key) do update set returned = card_charges.outcome = 'captured'"
                " returning returned",
                key,
            )
        return bool(returned)
