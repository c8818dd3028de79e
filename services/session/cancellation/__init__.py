"""Cancellation of sessions, by request or because the member has left."""
