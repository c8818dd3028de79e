"""Webhooks: signature verification and signing secrets."""
