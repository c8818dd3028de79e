"""Files with the expectations of all consumers: `<folder>/<consumer>-<provider>/<Method>.txt`."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING

from contracts.testing.expectation import Expectation, parse_expectation
from contracts.testing.fake_server import descriptor_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from contracts.method import Method
    from contracts.testing.fake_server import Service

UPDATE_OPTION = "--update-expectations"
_HEAD = re.compile(r"# Expectations of (\S+) on (\S+)\. Do not edit\.\n# Recorded by `pytest (\S+) (\S+)`\.\n")
_VERSION = re.compile(r"v\d+\w*")


class ExpectationFiles:
    """Expectations that the tests of one module record.

    A recorded expectation is compared with its file, or written to it with `update`. All tests of one consumer and
    provider are in one module, so that the module's end shows which expectations in the files are no longer recorded.
    `module` is the path of the module below the folder in which pytest starts.
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
        stored = _sections(path)
        if stored.get(expectation.state) == text and _module_of(path) == self._module:
            return
        if not self._update:
            differing = _difference(stored.get(expectation.state, ""), text)
            raise AssertionError(f"{path} does not have what this test expects. {self._advice()}\n{differing}")
        _write(path, expectation, self._module, stored | {expectation.state: text})

    def finish(self) -> None:
        """Remove the expectations of this module that no test has recorded; raise AssertionError without `update`."""
        for path in sorted(self._folder.glob("*/*.txt")):
            if _module_of(path) != self._module:
                continue
            stored, recorded = _sections(path), self._recorded.get(path, {})
            if stale := stored.keys() - recorded.keys():
                self._remove(path, sorted(stale))

    def _remove(self, path: Path, states: list[str]) -> None:
        if not self._update:
            raise AssertionError(f"No test has recorded in {path}: {', '.join(states)}. {self._advice()}")
        first, *_ = _expectations_in(path)
        left = {state: text for state, text in _sections(path).items() if state not in states}
        if left:
            _write(path, first, self._module, left)
            return
        path.unlink()
        if not any(path.parent.iterdir()):
            path.parent.rmdir()

    def _advice(self) -> str:
        return f"If the change is right, run: pytest {self._module} {UPDATE_OPTION}"


def expectations_on(service: Service, folder: Path) -> list[Expectation]:
    """Return the expectations of all consumers on a service, given by its stub class or descriptor.

    Raises ValueError if a file is malformed, or if the module that has recorded it no longer exists.
    """
    name = descriptor_of(service).full_name
    return [
        each
        for path in sorted(folder.glob("*/*.txt"))
        if (found := _HEAD.match(path.read_text(encoding="utf-8"))) and found[2].partition("/")[0] == name
        for each in _checked(path)
    ]


def path_of(folder: Path, consumer: str, method: Method) -> Path:
    """Return the file of the expectations of a consumer on a method."""
    parts = method.service.split(".")[:-1]
    provider = next((part for part in reversed(parts) if not _VERSION.fullmatch(part)), method.service)
    return folder / f"{consumer}-{provider}" / f"{method.name}.txt"


def _checked(path: Path) -> list[Expectation]:
    module = _module_of(path)
    if not any((parent / module).exists() for parent in path.parents):
        raise ValueError(f"{path}: {module} has recorded these expectations, but does not exist: delete the file.")
    return list(_expectations_in(path))


def _expectations_in(path: Path) -> Iterator[Expectation]:
    found = _HEAD.match(path.read_text(encoding="utf-8"))
    if found is None:
        raise ValueError(f"{path}: the first two lines are not those of a file of expectations.")
    for text in _sections(path).values():
        try:
            yield parse_expectation(text.splitlines(), found[1], found[2])
        except ValueError as error:
            raise ValueError(f"{path}: {error}.") from None


def _module_of(path: Path) -> str:
    found = _HEAD.match(path.read_text(encoding="utf-8")) if path.exists() else None
    return found[3] if found else ""


def _sections(path: Path) -> dict[str, str]:
    """Return the text of each expectation in a file, by its state."""
    if not path.exists():
        return {}
    _, *texts = path.read_text(encoding="utf-8").split("\n\n")
    return {text.partition("\n")[0].removeprefix("given: "): text.rstrip("\n") + "\n" for text in texts}


def _write(path: Path, one: Expectation, module: str, sections: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    head = (
        f"# Expectations of {one.consumer} on {one.method.full_name}. Do not edit.\n"
        f"# Recorded by `pytest {module} {UPDATE_OPTION}`.\n"
    )
    path.write_text("\n".join([head, *(sections[state] for state in sorted(sections))]), encoding="utf-8")


def _difference(stored: str, recorded: str) -> str:
    lines = difflib.unified_diff(stored.splitlines(), recorded.splitlines(), "file", "test", lineterm="")
    return "\n".join(lines)
