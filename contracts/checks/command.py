"""Command that checks an image, or the workspace of the current folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from contracts.checks.report import report
from contracts.checks.run import check
from contracts.image import Image
from contracts.workspace import read_image

if TYPE_CHECKING:
    from collections.abc import Collection

    from contracts.output import Format

STANDARD_INPUT = "-"


def run(source: str | None, form: Format, ignored: Collection[str]) -> int:
    """Print the findings of a source, and return the exit code: 1 if there are any, or else 0.

    `source` is the path of an image, "-" for standard input, or None for the workspace of the current folder. Raises
    ImageError, WorkspaceError, SettingsError or OSError if it cannot be read, and UnknownCheckError if an ignored check
    does not exist.
    """
    findings = check(_image_of(source), ignored=ignored)
    sys.stdout.write(report(findings, form))
    return 1 if findings else 0


def _image_of(source: str | None) -> Image:
    if source is None:
        return read_image(Path())
    return Image.parse(sys.stdin.buffer.read()) if source == STANDARD_INPUT else Image.read(Path(source))
