"""Fixtures for every test."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
import structlog
from hypothesis import settings
from opentelemetry import trace
from opentelemetry.util._once import Once

from mesh.loading import loading
from tests.support.core_lines import CoreLines
from tests.support.node import node_folder
from tests.support.postgres import (
    database_url,
    databases_of_module,
    empty_database_url,
    lent_databases,
    open_database,
    postgres,
    reachable_folder,
)
from tests.support.scheduling import PieceScheduling, longest_first
from tests.support.serving import serve, serve_module

if TYPE_CHECKING:
    from collections.abc import Generator

    from xdist.remote import Producer

__all__ = [
    "database_url",
    "databases_of_module",
    "empty_database_url",
    "lent_databases",
    "node_folder",
    "open_database",
    "postgres",
    "reachable_folder",
    "serve",
    "serve_module",
]

# Tests call servers of their own on this machine; a proxy in the environment has no part in that.
os.environ.setdefault("no_grpc_proxy", "127.0.0.1,localhost")

# A shell lets what it runs in the background ignore Ctrl-C, and all that this starts; tests end programs with it.
signal.signal(signal.SIGINT, signal.default_int_handler)

STANDARD_ERROR = 2

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


@pytest.fixture(autouse=True)
def tracing_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget after each test how it set up tracing: a process can do so only once, and health tells of its troubles."""
    monkeypatch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", Once())
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)


_core_lines = pytest.StashKey[CoreLines]()


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Keep the lines of gRPC's core out of the output of a run in several processes, before these are started."""
    cache: pytest.Cache | None = getattr(config, "cache", None)
    if cache is not None and config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        config.stash[_core_lines] = CoreLines(STANDARD_ERROR, cache.mkdir("grpc") / "core.log")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Name the file with those lines, if there are warnings or errors among them."""
    lines = config.stash.get(_core_lines, None)
    if lines is not None and lines.summary():
        terminalreporter.write_line(lines.summary())


def pytest_unconfigure(config: pytest.Config) -> None:
    """Let errors go where they went before."""
    lines = config.stash.get(_core_lines, None)
    if lines is not None:
        lines.stop()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None]:
    """Import the tests, and all that they test, as a program is loaded."""
    with loading():
        yield


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the long forms, unless `-m` speaks of them; what takes longest comes first."""
    if "soak" not in config.option.markexpr:
        long_forms = [item for item in items if item.get_closest_marker("soak")]
        config.hook.pytest_deselected(items=long_forms)
        items[:] = [item for item in items if item not in long_forms]
    items[:] = longest_first(items)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> PieceScheduling:
    """Divide a run in several processes."""
    return PieceScheduling(config, log)
