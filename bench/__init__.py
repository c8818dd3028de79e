"""Benchmarks: figures about the mesh, measured on the machine at hand. Never part of the tests."""
