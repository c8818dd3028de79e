"""Circuit breakers of clients."""
