"""Waiting lists of gyms: members who would book a period if it were free."""
