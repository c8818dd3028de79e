"""Gym: what can be booked, when, at which price and under which rules."""
