"""The whole mesh on one machine: its processes, database, mail and keys."""
