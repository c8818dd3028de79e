"""Errors on both sides of a call."""
