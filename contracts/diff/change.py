"""Change of a contract: its severity, its place in the new contracts, and the callers that it hits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from contracts.diff.kinds import KINDS, Severity

if TYPE_CHECKING:
    from collections.abc import Iterable

    from contracts.image import Location

__all__ = ["Change", "Difference", "Severity", "change"]


@dataclass(frozen=True, slots=True)
class Difference:
    """Difference between two declarations of one option.

    `id` is one of KINDS. `text` has the old and the new value. `path` leads into the option, to the name or the value.
    """

    id: str
    text: str
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """Change between two versions of contracts.

    `subject` is the full name of the method, field, message, service or enum value. `location` is in the new contracts,
    or in the old ones if their file is gone. `callers` are methods, services and events of the old contracts; a safe
    change has none.
    """

    severity: Severity
    id: str
    subject: str
    text: str
    location: Location
    callers: tuple[str, ...]


def change(id_: str, subject: str, text: str, location: Location, callers: Iterable[str] = ()) -> Change:
    """Return a change with the severity and the advice of its id."""
    kind = KINDS[id_]
    hit = () if kind.severity is Severity.SAFE else tuple(sorted(set(callers)))
    return Change(kind.severity, id_, subject, f"{text} {kind.advice}", location, hit)
