"""Measured servers, each a program of its own."""
