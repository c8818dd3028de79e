"""The mesh runtime: what makes a servicer a process."""
