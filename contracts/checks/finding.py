"""Checks and their findings: each finding is one fault of a contract, with its place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from contracts.checks.subject import Subject
    from contracts.image import Location


class Problem(NamedTuple):
    """Fault that a check has found. The message begins with the name of the declaration."""

    location: Location
    message: str


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """Problem with the id of its check. Findings sort by place. The line is 0 if the image has no lines."""

    file: str
    line: int
    id: str
    message: str


@dataclass(frozen=True, slots=True)
class Check:
    """Check of contracts: `find` yields each problem of one kind.

    `fault` describes the problem, and `remedy` says what to write instead.
    """

    id: str
    find: Callable[[Subject], Iterator[Problem]]
    fault: str
    remedy: str
