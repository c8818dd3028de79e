"""Checks of contracts before anything runs. Each concept has a module, and `registry.py` lists all checks."""
