"""Payment methods of the people in a story."""

from __future__ import annotations

from solo60.payment.v1.payment_pb2 import CardMethod, CreditsMethod, PaymentMethod

# A test card that is accepted, not a secret.
GOOD_CARD = "tok_visa"
WITH_CREDITS = PaymentMethod(credits=CreditsMethod())
BY_CARD = PaymentMethod(card=CardMethod(card_token=GOOD_CARD))
