"""The auth service: user authentication by tokens that other services verify. Only the contract exists."""
