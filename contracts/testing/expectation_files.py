"""Expectations of consumers in files: `<folder>/<consumer>-<provider>/<Method>.txt`, one section for each state."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from contracts.testing.fake_server import descriptor_of
from contracts.testing.sections import UPDATE_OPTION, Section, path_of, read_file, write_file

if TYPE_CHECKING:
    from pathlib import Path

    from contracts.testing.expectation import Expectation
    from contracts.testing.fake_server import Service


class ExpectationFiles:
    """Expectations that the tests of one module record.

    A recorded expectation is compared with its file, or written to it with `update`. A section lists the modules that
    record it, so that the end of a module shows which sections no test records any more. `module` is the path of the
    module below the folder in which pytest starts.
    """

    def __init__(self, folder: Path, module: str, *, update: bool = False) -> None:
        self._folder = folder
        self._module = module
        self._update = update
        self._recorded: dict[Path, dict[str, str]] = {}

    def record(self, expectation: Expectation) -> None:
        """Compare an expectation with its file, or write it; raise AssertionError if it differs."""
        path = path_of(self._folder, expectation.consumer, expectation.method)
        recorded = self._recorded.setdefault(path, {})
        text = expectation.text()
        if recorded.setdefault(expectation.state, text) != text:
            differing = _difference(recorded[expectation.state], text)
            raise AssertionError(f"Two tests expect something else of {expectation}: name their states.\n{differing}")
        sections = read_file(path)
        stored = sections.get(expectation.state, Section("", frozenset()))
        if stored.text == text and self._module in stored.modules:
            return
        if not self._update:
            problem = f"{path} does not have what {self._module} expects of {expectation}."
            raise AssertionError(f"{problem} {self._advice()}\n{_difference(stored.text, text)}")
        sections[expectation.state] = Section(text, stored.modules | {self._module})
        write_file(path, expectation.consumer, expectation.method.full_name, sections)

    def finish(self) -> None:
        """Remove this module from the sections that it has not recorded; raise AssertionError without `update`."""
        for path in sorted(self._folder.glob("*/*.txt")):
            sections, recorded = read_file(path), self._recorded.get(path, {})
            stale = [
                state for state, each in sections.items() if self._module in each.modules and state not in recorded
            ]
            if stale and not self._update:
                raise AssertionError(f"{self._module} no longer expects {path}, given {stale[0]}. {self._advice()}")
            for state in stale:
                _drop(path, state, self._module)

    def _advice(self) -> str:
        return f"If this is right, run: pytest {self._module} {UPDATE_OPTION}"


def expectations_on(service: Service, folder: Path) -> list[Expectation]:
    """Return the expectations of all consumers on a service, given by its stub class or descriptor.

    Raises ValueError if a file is malformed, or if a module that has recorded a section no longer exists.
    """
    name = descriptor_of(service).full_name
    return [each for each in read_expectations(folder) if each.method.service == name]


def read_expectations(folder: Path) -> list[Expectation]:
    """Return the expectations of all consumers on all services; raise ValueError as `expectations_on` does."""
    found = []
    for path in sorted(folder.glob("*/*.txt")):
        for section in read_file(path).values():
            _check_modules(path, section)
            found.append(section.expectation(path))
    return found


def _check_modules(path: Path, section: Section) -> None:
    for module in section.modules:
        if not any((parent / module).exists() for parent in path.parents):
            raise ValueError(f"{path}: {module} has recorded this file, but does not exist: delete what it recorded.")


def _drop(path: Path, state: str, module: str) -> None:
    """Remove a module from a section, and the section, file and folder if nothing is left."""
    sections = read_file(path)
    expectation = sections[state].expectation(path)
    modules = sections[state].modules - {module}
    if modules:
        sections[state] = Section(sections[state].text, modules)
    else:
        del sections[state]
    if sections:
        write_file(path, expectation.consumer, expectation.method.full_name, sections)
        return
    path.unlink()
    if not any(path.parent.iterdir()):
        path.parent.rmdir()


def _difference(stored: str, recorded: str) -> str:
    lines = difflib.unified_diff(stored.splitlines(), recorded.splitlines(), "file", "test", lineterm="")
    return "\n".join(lines)
