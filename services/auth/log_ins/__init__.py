"""Log-ins, each with its chain of refresh tokens."""
