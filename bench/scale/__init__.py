"""Scale benchmark: the same calls on a nearly empty and on a large database, both running at once."""
