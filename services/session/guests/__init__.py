"""Guests of a session: invitations and their cancellation."""
