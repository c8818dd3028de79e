"""Refunds of payments, as a whole or in part."""
