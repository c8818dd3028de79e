"""Test kit for the contracts of any package: what the consumers and the provider of a contract check."""
