"""The embedded PostgreSQL of a local mesh."""
