"""Deadlines on both sides of a call."""
