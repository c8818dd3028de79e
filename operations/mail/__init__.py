"""Mail: the inbox of a local mesh, and failed messages."""
