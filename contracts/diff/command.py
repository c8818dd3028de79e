"""Command that compares two images, or the workspace of the current folder with a git revision."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from contracts.diff.comparison import changes_between
from contracts.diff.kinds import Severity
from contracts.diff.report import name_in_settings, report
from contracts.diff.revision import read_versions
from contracts.image import Image, Location
from contracts.settings import read_settings

if TYPE_CHECKING:
    from contracts.diff.change import Change
    from contracts.output import Format


def run(before: str, after: str | None, form: Format) -> int:
    """Print the changes, and return the exit code: 1 if one of them is breaking and not allowed, or else 0.

    `before` and `after` are the paths of images. Without `after`, `before` is a git revision. Raises WorkspaceError,
    ImageError, SettingsError or OSError if a version is unreadable.
    """
    allowed = read_settings(Path()).allowed_changes
    changes = _changes_of_workspace(before) if after is None else changes_between(_read(before), _read(after))
    sys.stdout.write(report(changes, allowed, form))
    breaking = {name_in_settings(each) for each in changes if each.severity is Severity.BREAKING}
    for unused in sorted(allowed - set(map(name_in_settings, changes))):
        sys.stderr.write(f"pyproject.toml: allowed-changes: there is no such change: {unused}. Remove it.\n")
    found = sorted(breaking - allowed)
    if found:
        entry = f"allowed-changes = {json.dumps(found[:1])}"
        sys.stderr.write(f"To allow an intended break, list it in [tool.contracts] of pyproject.toml: {entry}\n")
    return 1 if found else 0


def _changes_of_workspace(revision: str) -> list[Change]:
    before, after = read_versions(Path(), revision)
    return [
        replace(each, location=Location(after.path_of(each.location.file), each.location.line))
        for each in changes_between(before, after)
    ]


def _read(path: str) -> Image:
    return Image.read(Path(path))
