"""Logs of a local mesh: filter, live tail, and the last error."""
