"""Command that checks an image, or the workspace of the current folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from contracts.checks.report import report
from contracts.checks.run import check, check_workspace
from contracts.image import Image

if TYPE_CHECKING:
    from collections.abc import Collection

    from contracts.output import Format

STANDARD_INPUT = "-"


def run(source: str | None, form: Format, ignored: Collection[str]) -> int:
    """Print the findings of a source, and return the exit code: 1 if there are any, or else 0.

    `source` is the path of an image, "-" for standard input, or None for the workspace of the current folder. Raises
    ImageError, WorkspaceError, SettingsError, SourceError or OSError if it cannot be read, and UnknownCheckError if an
    ignored check does not exist.
    """
    findings = check_workspace(Path(), ignored) if source is None else check(_image_of(source), ignored=ignored)
    sys.stdout.write(report(findings, form))
    return 1 if findings else 0


def _image_of(source: str) -> Image:
    return Image.parse(sys.stdin.buffer.read()) if source == STANDARD_INPUT else Image.read(Path(source))
