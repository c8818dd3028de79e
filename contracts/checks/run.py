"""Run of all checks over an image."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from contracts.checks.finding import Finding
from contracts.checks.registry import CHECKS, CHECKS_BY_ID
from contracts.checks.subject import Subject

if TYPE_CHECKING:
    from collections.abc import Collection

    from contracts.image import Image


class UnknownCheckError(Exception):
    """Id of no check; the message names it."""


def check(image: Image, now: datetime | None = None, ignored: Collection[str] = ()) -> list[Finding]:
    """Return the findings in the examined contracts of an image, sorted by place.

    Sunsets are compared to `now`, in UTC; the default is the current time. Checks with an id in `ignored` do not run.
    Raises UnknownCheckError if an ignored id does not exist.
    """
    for unknown in set(ignored) - CHECKS_BY_ID.keys():
        raise UnknownCheckError(f"There is no check {unknown}: docs/contract-checks.md lists all ids.")
    subject = Subject(image, now or datetime.now(UTC))
    return sorted(
        {
            Finding(image.path_of(location.file), location.line, each.id, message)
            for each in CHECKS
            if each.id not in ignored
            for location, message in each.find(subject)
        }
    )
