"""Moves of sessions to another period of the same gym."""
