"""Benchmarks of the mesh, run on the local machine. They are not part of the tests."""
