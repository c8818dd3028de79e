"""Service API keys: the keyring, and an interceptor for each side of a call."""
