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
from tests.support.node import node_folder
from tests.support.outcomes import WORKER_OUTPUT, Outcome, is_complete, missing_outcomes, outcomes_of_this_process
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
_outcomes = pytest.StashKey[set[Outcome]]()


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Redirect the log lines of gRPC's core to a file if the run has several workers, before the workers start."""
    cache: pytest.Cache | None = getattr(config, "cache", None)
    if cache is not None and config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        config.stash[_core_lines] = CoreLineFilter(STANDARD_ERROR, cache.mkdir("grpc") / "core.log")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the path of gRPC's log file if it contains warnings or errors, and the missing outcomes of methods."""
    lines = config.stash.get(_core_lines, None)
    if lines is not None and lines.summary():
        terminalreporter.write_line(lines.summary())
    missing = missing_outcomes(config.stash.setdefault(_outcomes, set())) if is_complete(config) else []
    if missing:
        terminalreporter.section("declared outcomes without a test")
        terminalreporter.write_line("\n".join(missing))


def pytest_testnodedown(node: WorkerController) -> None:
    """Take over the outcomes of a worker that has ended."""
    found = map(tuple, getattr(node, "workeroutput", {}).get(WORKER_OUTPUT, ()))
    node.config.stash.setdefault(_outcomes, set()).update(found)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail a complete and otherwise successful run if no call had one of the declared outcomes."""
    config = session.config
    if hasattr(config, "workerinput"):
        config.workeroutput[WORKER_OUTPUT] = sorted(outcomes_of_this_process())  # type: ignore[attr-defined]  # of xdist
        return
    seen = config.stash.setdefault(_outcomes, set())
    seen.update(outcomes_of_this_process())
    if exitstatus == pytest.ExitCode.OK and is_complete(config) and missing_outcomes(seen):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


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
