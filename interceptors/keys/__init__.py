"""Service API keys: keyring and server interceptor."""
