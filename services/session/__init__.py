"""Session: who has which gym when, booked, paid and mailed as a whole or not at all."""
