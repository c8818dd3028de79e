"""Fixtures for every test."""

from __future__ import annotations

from tests.support.postgres import database_url, empty_database_url, postgres, reachable_folder
from tests.support.serving import serve

__all__ = ["database_url", "empty_database_url", "postgres", "reachable_folder", "serve"]
