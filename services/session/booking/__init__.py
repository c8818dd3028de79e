"""Booking of a session: hold the slot, charge the member, confirm the session."""
