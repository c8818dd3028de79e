"""Erasure of persons: members with their sessions and guests, and guests by address."""
