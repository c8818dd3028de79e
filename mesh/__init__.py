"""Mesh runtime, which runs a servicer as a process."""
