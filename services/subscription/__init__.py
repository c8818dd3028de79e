"""Subscription: plans, their credits month by month, and what the card processor tells of them."""
