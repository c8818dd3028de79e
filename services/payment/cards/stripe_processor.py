"""Card processor Stripe: one payment intent per charge, which takes money at most once.

A charge has two steps. The first creates a payment intent, which takes no money, and stores its id. The second confirms
the stored intent, which takes the money. Stripe confirms an intent at most once, however late a repetition comes. An
idempotency key alone would not suffice: Stripe forgets keys after a day. docs/adr/0022 has the details.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import stripe
import structlog

from contracts.errors import CardDeclined, Unavailable
from mesh.card_processor import RequestRejected
from services.payment.cards.processor import CardOutcome

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from mesh.card_processor import CardProcessorClient
    from services.payment.cards.intents import IntentStore
    from services.payment.domain import Price

# Key of our idempotency key, the session id, in the metadata of an intent.
SESSION_ID_KEY = "solo60_session_id"
# Key of a partial refund's id in the metadata of a refund.
REFUND_ID_KEY = "solo60_refund_id"

# Without an entry: the outcome is not known yet, or the intent waits for its confirmation.
_OUTCOMES = {
    "succeeded": CardOutcome.CAPTURED,
    # After a failed confirmation the intent waits for another card.
    "requires_payment_method": CardOutcome.DECLINED,
    # The card demands the member's presence at a page of the bank.
    "requires_action": CardOutcome.DECLINED,
    "canceled": CardOutcome.CALLED_OFF,
}
_CANCELLABLE = ("requires_confirmation", "requires_action")

_log = structlog.stdlib.get_logger("solo60.payment.cards")


class StripeProcessor:
    """Card processor Stripe. A card token is a payment method, "pm_...", or a token of a card, "tok_..."."""

    def __init__(self, client: CardProcessorClient, intents: IntentStore, now: Callable[[], datetime]) -> None:
        self._client = client
        self._intents = client.v1.payment_intents
        self._stored = intents
        self._now = now

    async def charge(self, key: str, card_token: str, price: Price) -> CardOutcome:
        """Create, store and confirm the payment intent of a key. A repeated key continues where the last call ended."""
        try:
            intent = await self._stored_intent(key, card_token, price)
        except CardDeclined:
            return CardOutcome.DECLINED
        except RequestRejected as error:
            # Stripe knows no such card, or accepts no such amount. No intent was created.
            _log.warning("charge rejected", session_id=key, code=error.code, parameter=error.parameter)
            return CardOutcome.DECLINED
        if intent is None:
            return CardOutcome.CALLED_OFF
        if intent.status == "requires_confirmation":
            intent = await self._confirm(key, intent.id)
        return _outcome_of(intent)

    async def refund(self, key: str) -> bool:
        """Refund the rest of a captured intent; cancel an intent that has taken nothing."""
        stored = await self._stored.claim(key, None, self._now())
        if stored.intent_id is None:
            return False
        intent = await self._retrieve(stored.intent_id)
        if intent.status in _CANCELLABLE:
            intent = await self._cancel(key, intent.id)
        if _outcome_of(intent) is not CardOutcome.CAPTURED:
            return False
        await self._refund_rest(key, intent)
        return True

    async def refund_part(self, key: str, refund_key: str, minor_units: int) -> bool:
        """Create a refund, unless the intent has one with this key."""
        stored = await self._stored.find(key)
        if stored is None or stored.intent_id is None:
            # The charge is one of test mode, so there is no money to return.
            return True
        # Stripe forgets idempotency keys after a day, so the metadata of earlier refunds are compared too.
        earlier = await self._refunds_of(stored.intent_id)
        if any(_refund_key_of(refund) == refund_key for refund in earlier):
            return True
        params: stripe.params.RefundCreateParams = {
            "payment_intent": stored.intent_id,
            "amount": minor_units,
            "metadata": {REFUND_ID_KEY: refund_key},
        }
        try:
            await self._client.ask(
                self._client.v1.refunds.create_async(params, {"idempotency_key": f"{key}/refund/{refund_key}"})
            )
        except RequestRejected as error:
            _log.warning("refund rejected", session_id=key, code=error.code)
            return False
        return True

    async def _refunds_of(self, intent_id: str) -> list[stripe.Refund]:
        """Return the refunds of an intent, also failed ones; the newest 100 if there are more."""
        params: stripe.params.RefundListParams = {"payment_intent": intent_id, "limit": 100}
        return (await self._client.ask(self._client.v1.refunds.list_async(params))).data

    async def _stored_intent(self, key: str, card_token: str, price: Price) -> stripe.PaymentIntent | None:
        """Return the intent of a key, created and stored if there is none; None if the charge is called off."""
        stored = await self._stored.find(key)
        if stored is None:
            created = await self._create(key, card_token, price)
            stored = await self._stored.claim(key, created.id, self._now())
            if stored.intent_id == created.id:
                return created
        return await self._retrieve(stored.intent_id) if stored.intent_id else None

    async def _create(self, key: str, card_token: str, price: Price) -> stripe.PaymentIntent:
        params: stripe.params.PaymentIntentCreateParams = {
            "amount": price.minor_units,
            "currency": price.currency.lower(),
            "metadata": {SESSION_ID_KEY: key},
        }
        # The SDK's types lack this parameter of API_VERSION. Without it, a confirmation needs a page to return to.
        params["payment_method_types"] = ["card"]  # type: ignore[typeddict-unknown-key]
        if card_token.startswith("tok_"):
            card: Any = {"token": card_token}
            params["payment_method_data"] = {"type": "card", "card": card}  # type: ignore[typeddict-unknown-key]
        else:
            params["payment_method"] = card_token
        # Stripe rejects a key that was used with other parameters, so another card has another key. This is safe,
        # because only the intent that is stored first is ever confirmed.
        digest = hashlib.sha256(card_token.encode()).hexdigest()[:16]
        return await self._client.ask(self._intents.create_async(params, {"idempotency_key": f"{key}/create/{digest}"}))

    async def _retrieve(self, intent_id: str) -> stripe.PaymentIntent:
        try:
            return await self._client.ask(self._intents.retrieve_async(intent_id, {"expand": ["latest_charge"]}))
        except RequestRejected as error:
            # The key belongs to another account of Stripe, so nobody knows whether the intent has taken money.
            _log.error("stored intent unknown to Stripe", intent_id=intent_id)
            raise Unavailable("The card processor does not know the payment intent.") from error

    async def _confirm(self, key: str, intent_id: str) -> stripe.PaymentIntent:
        """Confirm an intent, and return its state afterwards."""
        options: stripe.RequestOptions = {"idempotency_key": f"{key}/confirm"}
        return await self._changed(self._intents.confirm_async(intent_id, {}, options), intent_id)

    async def _cancel(self, key: str, intent_id: str) -> stripe.PaymentIntent:
        """Cancel an intent, and return its state afterwards."""
        options: stripe.RequestOptions = {"idempotency_key": f"{key}/cancel"}
        return await self._changed(self._intents.cancel_async(intent_id, {}, options), intent_id)

    async def _changed(self, change: Awaitable[object], intent_id: str) -> stripe.PaymentIntent:
        """Return the state of an intent after `change`, even if the card was declined or another call came first."""
        with suppress(CardDeclined, RequestRejected):
            await self._client.ask(change)
        return await self._retrieve(intent_id)

    async def _refund_rest(self, key: str, intent: stripe.PaymentIntent) -> None:
        charge = intent.latest_charge
        if not isinstance(charge, stripe.Charge):
            raise TypeError("the intent is not expanded")
        # `amount_refunded` does not count failed refunds, whose money the member gets in another way. The list has at
        # most 100 refunds. So the larger sum counts.
        refunds = await self._refunds_of(intent.id)
        rest = charge.amount - max(charge.amount_refunded, sum(refund.amount for refund in refunds))
        if rest <= 0:
            return
        params: stripe.params.RefundCreateParams = {"payment_intent": intent.id, "amount": rest}
        try:
            # The rest is in the key, so that a repetition of this refund is recognized, and another refund is not.
            await self._client.ask(
                self._client.v1.refunds.create_async(params, {"idempotency_key": f"{key}/refund/{rest}"})
            )
        except RequestRejected as error:
            _log.warning("refund rejected", session_id=key, code=error.code)
            raise Unavailable("The card processor rejects the refund.") from error


def _outcome_of(intent: stripe.PaymentIntent) -> CardOutcome:
    """Return the outcome of a charge by its intent; raise Unavailable while it is unknown."""
    outcome = _OUTCOMES.get(intent.status)
    if outcome is None:
        raise Unavailable("The card processor has not decided yet.")
    return outcome


def _refund_key_of(refund: stripe.Refund) -> str:
    metadata = refund.metadata
    return metadata[REFUND_ID_KEY] if metadata is not None and REFUND_ID_KEY in metadata else ""
