"""The subscription service: plans, monthly credits, and webhooks from the card processor."""
