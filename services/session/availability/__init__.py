"""Availability of gyms: booked periods, and watches for their changes."""
