"""Card refunds that the card processor accepted and could not deliver, reported by its webhooks."""
