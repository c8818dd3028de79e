"""Notification preferences: the categories of mail that a user has switched off."""
