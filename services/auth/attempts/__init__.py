"""Failed log-in attempts, and the pauses that they cause."""
