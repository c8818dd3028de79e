"""Validation of messages on both sides of a call."""
