"""Disputes of card payments at the bank, reported by webhooks of the card processor."""
