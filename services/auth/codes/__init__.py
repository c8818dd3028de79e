"""Codes that prove the ownership of an email address."""
