"""Fixtures for every test."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import structlog
from hypothesis import settings

from tests.support.node import node_folder
from tests.support.postgres import database_url, empty_database_url, open_database, postgres, reachable_folder
from tests.support.serving import serve

if TYPE_CHECKING:
    import pytest

__all__ = [
    "database_url",
    "empty_database_url",
    "node_folder",
    "open_database",
    "postgres",
    "reachable_folder",
    "serve",
]

# Tests call servers of their own on this machine; a proxy in the environment has no part in that.
os.environ.setdefault("no_grpc_proxy", "127.0.0.1,localhost")

# No example is timed: a busy machine is not a failure.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# By default structlog shows each traceback with all local variables, which takes a second.
structlog.configure(
    processors=[
        structlog.processors.add_log_level,
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the long forms, unless `-m` speaks of them."""
    if "soak" in config.option.markexpr:
        return
    long_forms = [item for item in items if item.get_closest_marker("soak")]
    config.hook.pytest_deselected(items=long_forms)
    items[:] = [item for item in items if item not in long_forms]
