"""Card processors: Stripe, and test mode."""
