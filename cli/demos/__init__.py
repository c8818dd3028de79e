"""Demos: stories that are told on a running mesh, one module per story."""
