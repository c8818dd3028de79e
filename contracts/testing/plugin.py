"""pytest plugin: options and fixtures for expectations in files, and for the contracts of the previous release.

Add `-p contracts.testing.plugin` to pytest's options. With pytest-xdist, run each module on one worker
(`--dist loadfile`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from contracts.testing.expectation_files import ExpectationFiles
    from contracts.testing.previous_release import PreviousRelease

# Git revision with the previous release, unless an option names another one.
_MAIN = "main"
_deselected = pytest.StashKey[set["Path"]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options for expectations."""
    parser.addoption("--update-expectations", action="store_true", help="write the expectations of consumers to files")
    parser.addoption(
        "--previous-release", metavar="REF", help=f"git revision of the previous release (default: {_MAIN})"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Update expectations in one process, because several modules may write the same file."""
    if config.option.update_expectations and getattr(config.option, "numprocesses", None):
        config.option.numprocesses, config.option.dist, config.option.tx = 0, "no", []


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    """Note modules of which only a part runs."""
    for item in items:
        item.config.stash.setdefault(_deselected, set()).add(item.path)


@pytest.fixture(scope="session")
def expectations_folder(pytestconfig: pytest.Config) -> Path:
    """Return the folder with the expectations of all consumers. Override this fixture to use another one."""
    return pytestconfig.rootpath / "tests" / "contracts" / "expectations"


@pytest.fixture(scope="module")
def expectation_files(request: pytest.FixtureRequest, expectations_folder: Path) -> Iterator[ExpectationFiles]:
    """Return the expectations of this module; at its end, fail if its files have expectations that no test recorded."""
    from contracts.testing.expectation_files import ExpectationFiles  # noqa: PLC0415 - a run without it starts faster

    config, failed = request.config, request.session.testsfailed
    module = request.path.relative_to(config.rootpath).as_posix()
    files = ExpectationFiles(expectations_folder, module, update=config.getoption("--update-expectations"))
    yield files
    is_part = request.path in config.stash.get(_deselected, set()) or any("::" in each for each in config.args)
    if not is_part and request.session.testsfailed == failed:
        files.finish()


@pytest.fixture(scope="session")
def contracts_workspace(pytestconfig: pytest.Config) -> Path:
    """Return the folder with the `buf.yaml` of the contracts. Override this fixture to use another one."""
    return pytestconfig.rootpath


@pytest.fixture(scope="session")
def previous_release(pytestconfig: pytest.Config, contracts_workspace: Path) -> PreviousRelease:
    """Return the contracts of the previous release; skip the test if no option names it and the clone has no main."""
    from contracts.diff.revision import MissingRevision  # noqa: PLC0415 - a run without it starts faster
    from contracts.testing.previous_release import PreviousRelease  # noqa: PLC0415 - as above

    revision = pytestconfig.getoption("--previous-release")
    try:
        return PreviousRelease.read(contracts_workspace, revision or _MAIN)
    except MissingRevision as error:
        if revision:
            raise pytest.UsageError(f"--previous-release: {error}") from None
        option = "--previous-release=origin/main"
        pytest.skip(f"this clone has no git revision {_MAIN} with contracts. Name another one, as in {option}.")
