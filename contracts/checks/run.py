"""Run of all checks over an image, or over a workspace with its Python code."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from contracts.checks.finding import Finding
from contracts.checks.registry import CHECKS, CHECKS_BY_ID
from contracts.checks.subject import Subject
from contracts.source.code import source_folders
from contracts.workspace import read_image

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from google.protobuf.descriptor import ServiceDescriptor

    from contracts.image import Image


class UnknownCheckError(Exception):
    """Id of no check; the message names it."""


def check_workspace(workspace: Path, ignored: Collection[str] = ()) -> list[Finding]:
    """Return the findings in the contracts of a workspace and in the code of its services, sorted by place.

    Raises WorkspaceError, SettingsError, ImageError, SourceError or OSError if something cannot be read, and
    UnknownCheckError.
    """
    image = read_image(workspace)
    return check(image, ignored=ignored, folders=source_folders(workspace, image))


def check(
    image: Image,
    now: datetime | None = None,
    ignored: Collection[str] = (),
    folders: Mapping[Path, tuple[ServiceDescriptor, ...]] | None = None,
) -> list[Finding]:
    """Return the findings in the examined contracts of an image, sorted by place.

    Sunsets are compared to `now`, in UTC; the default is the current time. Checks with an id in `ignored` do not run.
    `folders` has the services of each folder with Python code. Raises UnknownCheckError if an ignored id does not
    exist, and SourceError for a file that is not Python.
    """
    for unknown in set(ignored) - CHECKS_BY_ID.keys():
        raise UnknownCheckError(f"There is no check {unknown}: docs/contract-checks.md lists all ids.")
    subject = Subject(image, now or datetime.now(UTC), folders or {})
    return sorted(
        {
            Finding(image.path_of(location.file), location.line, each.id, message)
            for each in CHECKS
            if each.id not in ignored
            for location, message in each.find(subject)
        }
    )
