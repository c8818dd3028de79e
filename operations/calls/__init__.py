"""Calls of any method with JSON, for people and programs outside the mesh."""
