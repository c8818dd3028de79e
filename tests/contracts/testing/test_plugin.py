"""pytest plugin of the kit, in runs of pytest of their own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

MODULE = """
import pytest
from contracts.testing.expectation import parse_expectation
from solo60.example.v1 import echo_pb2

@pytest.mark.parametrize("state", ["loud", "quiet"][:{count}])
def test_echo(expectation_files, state):
    lines = [f"given: {{state}}", "kind: calls", "deadline: 2 s"]
    expectation_files.record(parse_expectation(lines, "reader", "solo60.example.v1.EchoService/Echo"))
"""
FILE = "tests/contracts/expectations/reader-example/Echo.txt"
# Plugins that these runs do not need.
WITHOUT = ("-p", "no:xdist", "-p", "no:asyncio", "-p", "no:hypothesispytest")


class Project:
    """Folder of a project with one test module, which records `count` expectations."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *options: str, count: int = 2) -> tuple[bool, str]:
        """Run the tests, and return whether they pass, and their output."""
        (self.folder / "pytest.ini").write_text("[pytest]\n")
        (self.folder / "test_reader.py").write_text(MODULE.format(count=count))
        command = [sys.executable, "-m", "pytest", "-p", "contracts.testing.plugin", *WITHOUT, *options]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=120, check=False)
        return done.returncode == 0, done.stdout + done.stderr

    def states(self) -> list[str]:
        """Return the states in the file of the expectations."""
        lines = (self.folder / FILE).read_text(encoding="utf-8").splitlines()
        return [line.removeprefix("given: ") for line in lines if line.startswith("given: ")]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a project that has recorded its expectations."""
    project = Project(tmp_path_factory.mktemp("recorded"))
    passes, output = project.run("--update-expectations")
    assert passes, output
    return project.folder


@pytest.fixture
def project(recorded: Path, tmp_path: Path) -> Project:
    """Return a project whose expectations are recorded."""
    return Project(shutil.copytree(recorded, tmp_path / "project"))


def test_the_option_records_what_the_tests_expect(project: Project) -> None:
    """The file has the expectations of all tests, sorted."""
    assert project.states() == ["loud", "quiet"]


def test_a_run_without_the_option_only_compares(project: Project) -> None:
    """A missing file fails the tests, with the command that writes it."""
    (project.folder / FILE).unlink()

    passes, output = project.run()

    assert not passes
    assert "run: pytest test_reader.py --update-expectations" in output
    assert not (project.folder / FILE).exists()


def test_the_end_of_a_module_shows_what_it_no_longer_expects(project: Project) -> None:
    """A removed test fails the module until its expectation is removed too."""
    passes, output = project.run(count=1)
    assert not passes
    assert "test_reader.py no longer expects" in output

    assert project.run("--update-expectations", count=1)[0]
    assert project.states() == ["loud"]


@pytest.mark.parametrize("selection", [("-k", "loud"), ("test_reader.py::test_echo[loud]",)])
def test_a_part_of_a_module_may_run(project: Project, selection: tuple[str, ...]) -> None:
    """A run of some tests does not remove what the others expect."""
    passes, output = project.run("--update-expectations", *selection)

    assert passes, output
    assert project.states() == ["loud", "quiet"]


RELEASE = """
import pytest

@pytest.mark.parametrize("number", [1, 2])
def test_release(previous_release, number):
    assert previous_release.name
"""


def run_without_git(folder: Path, *options: str) -> str:
    """Run two tests with the previous release in a folder without git, and return the output."""
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "test_release.py").write_text(RELEASE)
    command = [sys.executable, "-m", "pytest", "-rs", "-p", "contracts.testing.plugin", *WITHOUT, *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False).stdout


def test_a_folder_without_the_previous_release_skips_with_one_sentence(tmp_path: Path) -> None:
    """The summary names the option, once for all tests."""
    output = run_without_git(tmp_path)

    [line] = [line for line in output.splitlines() if line.startswith("SKIPPED")]
    assert line.startswith("SKIPPED [2]")
    assert line.endswith("Name another one, as in --previous-release=origin/main.")


def test_a_named_release_must_exist(tmp_path: Path) -> None:
    """A revision that the option names is no reason to skip."""
    output = run_without_git(tmp_path, "--previous-release=v1")

    assert "2 errors" in output
    assert "--previous-release: " in output
