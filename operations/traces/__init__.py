"""Traces in the local span store: list, filter, and one trace with everything about it."""
