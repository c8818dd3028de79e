"""Erasure of persons: accounts by user, and failed log-ins by address."""
