"""Card processor of test mode, which charges no card."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.payment.cards.processor import CardOutcome

if TYPE_CHECKING:
    from mesh.data.database import Database
    from services.payment.domain import Price

ACCEPTED_CARD_TOKEN = "tok_visa"  # noqa: S105 - a test card, not a secret


class TestModeProcessor:
    """Card processor that accepts only "tok_visa". Charges are stored in PostgreSQL and survive a restart."""

    __test__ = False  # otherwise pytest would collect the class because of its name

    def __init__(self, database: Database) -> None:
        self._database = database

    async def charge(self, key: str, card_token: str, price: Price) -> CardOutcome:
        """Decide by the token. A repeated key returns the first outcome, even with another token."""
        outcome = CardOutcome.CAPTURED if card_token == ACCEPTED_CARD_TOKEN else CardOutcome.DECLINED
        async with self._database.connection() as connection:
            await connection.execute(
                "insert into card_charges (idempotency_key, outcome, currency, minor_units) values ($1, $2, $3, $4)"
                " on conflict do nothing",
                key,
                outcome,
                price.currency,
                price.minor_units,
            )
            stored = await connection.fetchval("select outcome from card_charges where idempotency_key = $1", key)
        return CardOutcome(stored)

    async def refund(self, key: str) -> bool:
        """Refund a captured charge, or record CALLED_OFF if the key has no charge yet."""
        async with self._database.connection() as connection:
            returned = await connection.fetchval(
                "insert into card_charges (idempotency_key, outcome) values ($1, 'called_off')"
                " on conflict (idempotency_key) do update set returned = card_charges.outcome = 'captured'"
                " returning returned",
                key,
            )
        return bool(returned)

    async def refund_part(self, key: str, refund_key: str, minor_units: int) -> bool:
        """Record the refund. The caller checks the amount."""
        async with self._database.connection() as connection:
            await connection.execute(
                "insert into card_refunds (refund_key, idempotency_key, minor_units) values ($1, $2, $3)"
                " on conflict do nothing",
                refund_key,
                key,
                minor_units,
            )
        return True
