"""Format of a file of expectations: two lines about the file, then a section for each state, sorted by state."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from contracts.names import package_of, short_package
from contracts.testing.expectation import Expectation, parse_expectation

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from contracts.method import Method

UPDATE_OPTION = "--update-expectations"
_HEAD = re.compile(r"# Expectations of (\S+) on (\S+)\.\n# .*\n")
_GIVEN, _TESTED_BY = "given: ", "tested by: "


@dataclass(frozen=True, slots=True)
class Section:
    """Expectation in one state as text, and the test modules that record it."""

    text: str
    modules: frozenset[str]

    def expectation(self, path: Path) -> Expectation:
        """Return the expectation in this section of a file; raise ValueError if it is malformed."""
        head = _head_of(path)
        try:
            return parse_expectation(self.text.splitlines(), head[1], head[2])
        except ValueError as error:
            raise ValueError(f"{path}: {error}.") from None


def path_of(folder: Path, consumer: str, method: Method) -> Path:
    """Return the file of the expectations of a consumer on a method."""
    return folder / f"{consumer}-{short_package(package_of(method.service))}" / f"{method.name}.txt"


def read_file(path: Path) -> dict[str, Section]:
    """Return the sections of a file by state; none if there is no file. Raises ValueError if its head is malformed."""
    if not path.exists():
        return {}
    _head_of(path)
    _, *texts = path.read_text(encoding="utf-8").split("\n\n")
    return {text.partition("\n")[0].removeprefix(_GIVEN): _parsed(text) for text in texts}


def write_file(path: Path, consumer: str, method: str, sections: Mapping[str, Section]) -> None:
    """Write the sections of a file."""
    head = (
        f"# Expectations of {consumer} on {method}.\n"
        f"# Recorded by the tests. Do not edit; run pytest with {UPDATE_OPTION}.\n"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([head, *(_written(sections[state]) for state in sorted(sections))]), encoding="utf-8")


def _head_of(path: Path) -> re.Match[str]:
    found = _HEAD.match(path.read_text(encoding="utf-8"))
    if found is None:
        raise ValueError(
            f"{path}: the first two lines are not those of a file of expectations: delete it and record it again."
        )
    return found


def _parsed(text: str) -> Section:
    lines = text.strip("\n").splitlines()
    modules = frozenset(line.removeprefix(_TESTED_BY) for line in lines if line.startswith(_TESTED_BY))
    return Section("\n".join(line for line in lines if not line.startswith(_TESTED_BY)) + "\n", modules)


def _written(section: Section) -> str:
    given, *rest = section.text.splitlines()
    return "\n".join([given, *(f"{_TESTED_BY}{module}" for module in sorted(section.modules)), *rest]) + "\n"
