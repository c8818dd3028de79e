"""Outboxes of the services: messages, backlog and history."""
