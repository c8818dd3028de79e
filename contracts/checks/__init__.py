"""Checks of contracts before anything runs. `registry.py` lists all of them, one module holds each concept."""
