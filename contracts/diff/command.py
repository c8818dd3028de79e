"""Command that compares contracts: `python -m contracts diff REF` or `python -m contracts diff BEFORE AFTER`.

`pyproject.toml` in the current folder may allow intended breaking changes, by id and subject:

    [tool.contract-diff]
    allow = ["SCOPE_ADDED solo60.gym.v1.GymService/CreateGym"]
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from contracts.diff.comparison import changes_between
from contracts.diff.kinds import Severity
from contracts.diff.report import FORMATS, name_in_settings
from contracts.diff.revision import read_versions
from contracts.image import Image, ImageError, Location
from contracts.workspace import WorkspaceError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from contracts.diff.change import Change

EXIT_BREAKING, EXIT_UNREADABLE = 1, 2


def main_diff(arguments: Sequence[str]) -> int:
    """Print the changes, and return 1 if one of them is breaking and not allowed, or 2 if a version is unreadable."""
    parser = argparse.ArgumentParser(prog="python -m contracts diff", description=__doc__.splitlines()[0])
    parser.add_argument("before", metavar="REF|BEFORE", help="git revision, or an image that `buf build` wrote")
    parser.add_argument("after", metavar="AFTER", nargs="?", help="image; default: the contracts of this folder")
    parser.add_argument("--format", choices=FORMATS, default="text", help="default: %(default)s")
    options = parser.parse_args(arguments)
    try:
        allowed = _allowed_changes(Path())
        changes = _changes(options.before, options.after)
    except (WorkspaceError, ImageError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - output of the command
        return EXIT_UNREADABLE
    except OSError as error:
        print(f"{error.filename}: {error.strerror}.", file=sys.stderr)  # noqa: T201 - as above
        return EXIT_UNREADABLE
    if changes or options.format == "json":
        print(FORMATS[options.format](changes, allowed))  # noqa: T201 - as above
    breaking = {name_in_settings(each) for each in changes if each.severity is Severity.BREAKING}
    for unused in sorted(allowed - breaking):
        print(f"pyproject.toml: allow: there is no such change: {unused}. Remove it.", file=sys.stderr)  # noqa: T201 - as above
    return EXIT_BREAKING if breaking - allowed else 0


def _changes(before: str, after: str | None) -> list[Change]:
    if after is not None:
        return changes_between(_read_image(before), _read_image(after))
    old, new, paths = read_versions(Path(), before)
    return [
        replace(each, location=Location(str(paths.get(each.location.file, each.location.file)), each.location.line))
        for each in changes_between(old, new)
    ]


def _read_image(path: str) -> Image:
    try:
        return Image.parse(Path(path).read_bytes())
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from None


def _allowed_changes(folder: Path) -> set[str]:
    path = folder / "pyproject.toml"
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except ValueError as error:
        raise WorkspaceError(f"pyproject.toml: {error}.") from None
    match settings.get("tool", {}).get("contract-diff", {"allow": []}):
        case {"allow": [*names], **others} if not others and all(isinstance(name, str) for name in names):
            return set(names)
    raise WorkspaceError(
        'pyproject.toml: [tool.contract-diff] allows only allow, a list such as ["SCOPE_ADDED package.Service/Method"].'
    )
