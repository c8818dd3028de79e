"""Card processors: the interface, the processor of test mode, and Stripe."""

from services.payment.cards.processor import CardOutcome, CardProcessor
from services.payment.cards.test_mode import TestModeProcessor

__all__ = ["CardOutcome", "CardProcessor", "TestModeProcessor"]
