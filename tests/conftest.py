"""Fixtures for every test."""

from __future__ import annotations

from hypothesis import settings

from tests.support.postgres import database_url, empty_database_url, open_database, postgres, reachable_folder
from tests.support.serving import serve

__all__ = ["database_url", "empty_database_url", "open_database", "postgres", "reachable_folder", "serve"]

# No example is timed: a busy machine is not a failure.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
