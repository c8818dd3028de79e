"""Pages of outboxes and their messages."""
