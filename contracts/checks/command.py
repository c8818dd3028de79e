"""Command that checks an image, or the workspace of the current folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from contracts.checks.report import report
from contracts.checks.run import UnknownCheckError, check
from contracts.image import Image, ImageError
from contracts.workspace import WorkspaceError, read_image

if TYPE_CHECKING:
    from collections.abc import Collection

    from contracts.checks.report import Format

STANDARD_INPUT = "-"


class CheckError(Exception):
    """Contracts that cannot be checked; the message is one sentence with the reason."""


def run(source: str | None, form: Format, ignored: Collection[str]) -> int:
    """Print the findings of a source, and return the exit code: 1 if there are any, or else 0.

    `source` is the path of an image, "-" for standard input, or None for the workspace of the current folder. Raises
    CheckError if it cannot be read, or if an ignored check does not exist.
    """
    try:
        findings = check(_image_of(source), ignored=ignored)
    except (ImageError, WorkspaceError, UnknownCheckError) as error:
        raise CheckError(str(error)) from None
    except OSError as error:
        raise CheckError(f"{source} cannot be read: {error.strerror}.") from None
    sys.stdout.write(report(findings, form))
    return 1 if findings else 0


def _image_of(source: str | None) -> Image:
    if source is None:
        return read_image(Path())
    return Image.parse(sys.stdin.buffer.read() if source == STANDARD_INPUT else Path(source).read_bytes())
