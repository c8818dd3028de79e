"""Booking benchmark: one booking over five services, in the mesh and in a plain FastAPI version."""
