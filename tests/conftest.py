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
from tests.support.consumers import consume
from tests.support.core_lines import CoreLineFilter
from tests.support.declarations import DECLARATIONS, is_complete
from tests.support.node import node_folder
from tests.support.postgres import (
    acquired_databases,
    database_url,
    databases_of_module,
    empty_database_url,
    mesh_database_url,
    open_database,
    postgres,
    reachable_folder,
)
from tests.support.scheduling import GroupScheduling, slowest_first
from tests.support.serving import serve, serve_module
from tests.support.stripe_server import running_stripe_server, stripe_server

if TYPE_CHECKING:
    from collections.abc import Generator

    from xdist.remote import Producer
    from xdist.workermanage import WorkerController

__all__ = [
    "acquired_databases",
    "consume",
    "database_url",
    "databases_of_module",
    "empty_database_url",
    "mesh_database_url",
    "node_folder",
    "open_database",
    "postgres",
    "reachable_folder",
    "running_stripe_server",
    "serve",
    "serve_module",
    "stripe_server",
]

# Tests call servers on this machine, so they must bypass any proxy in the environment.
os.environ.setdefault("no_grpc_proxy", "127.0.0.1,localhost")

# A shell makes its background jobs and their children ignore SIGINT, but tests stop programs with SIGINT.
signal.signal(signal.SIGINT, signal.default_int_handler)

STANDARD_ERROR = 2

# A busy machine may exceed Hypothesis's deadline for an example, so there is none.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# structlog's default traceback renders all local variables, which takes a second.
structlog.configure(
    processors=[
        structlog.processors.add_log_level,
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)


@pytest.fixture(autouse=True)
def fresh_tracer_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reset the global tracer provider for each test, because a process can set it only once."""
    monkeypatch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", Once())
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)


_core_lines = pytest.StashKey[CoreLineFilter]()
# Declarations that the tests have seen, by kind.
_seen = pytest.StashKey[dict[str, set[tuple[str, ...]]]]()
WORKER_OUTPUT = "declarations seen"


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Redirect the log lines of gRPC's core to a file if the run has several workers, before the workers start."""
    cache: pytest.Cache | None = getattr(config, "cache", None)
    if cache is not None and config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        config.stash[_core_lines] = CoreLineFilter(STANDARD_ERROR, cache.mkdir("grpc") / "core.log")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the path of gRPC's log file if it contains warnings or errors, and the declarations that no test saw."""
    lines = config.stash.get(_core_lines, None)
    if lines is not None and lines.summary():
        terminalreporter.write_line(lines.summary())
    for title, missing in _missing(config).items():
        terminalreporter.section(title)
        terminalreporter.write_line("\n".join(missing))


def pytest_testnodedown(node: WorkerController) -> None:
    """Take over the declarations that a worker has seen."""
    for title, found in getattr(node, "workeroutput", {}).get(WORKER_OUTPUT, {}).items():
        _seen_in(node.config)[title].update(map(tuple, found))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail a complete and otherwise successful run if no test saw one of the declarations."""
    config = session.config
    for kind in DECLARATIONS:
        _seen_in(config)[kind.title].update(kind.of_this_process())
    if hasattr(config, "workerinput"):
        config.workeroutput[WORKER_OUTPUT] = {title: sorted(found) for title, found in _seen_in(config).items()}  # type: ignore[attr-defined]  # of xdist
    elif exitstatus == pytest.ExitCode.OK and _missing(config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _seen_in(config: pytest.Config) -> dict[str, set[tuple[str, ...]]]:
    return config.stash.setdefault(_seen, {kind.title: set() for kind in DECLARATIONS})


def _missing(config: pytest.Config) -> dict[str, list[str]]:
    """Return the declarations that no test of a complete run has seen, by kind."""
    if not is_complete(config):
        return {}
    found = {kind.title: kind.missing(_seen_in(config)[kind.title]) for kind in DECLARATIONS}
    return {title: missing for title, missing in found.items() if missing}


def pytest_unconfigure(config: pytest.Config) -> None:
    """Restore standard error."""
    lines = config.stash.get(_core_lines, None)
    if lines is not None:
        lines.stop()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None]:
    """Import the tests without garbage collection, as programs of the mesh import their modules."""
    with loading():
        yield


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect soak tests unless `-m` mentions them, and run the longest modules first."""
    if "soak" not in config.option.markexpr:
        long_forms = [item for item in items if item.get_closest_marker("soak")]
        config.hook.pytest_deselected(items=long_forms)
        items[:] = [item for item in items if item not in long_forms]
    items[:] = slowest_first(items)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> GroupScheduling:
    """Return the scheduler for a run with several workers."""
    return GroupScheduling(config, log)
