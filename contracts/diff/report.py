"""Report of changes: as text, as JSON, or as annotations of GitHub Actions."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from contracts.diff.kinds import Severity
from contracts.output import Format, annotation, visible

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from contracts.diff.change import Change

ANNOTATIONS = {Severity.BREAKING: "error", Severity.RISKY: "warning", Severity.SAFE: "notice"}


def report(changes: Sequence[Change], allowed: Collection[str], form: Format) -> str:
    """Return changes as text with a line each and a line for their callers, or as one JSON list.

    Without changes, text is empty. An allowed change is marked, and a notice on GitHub.
    """
    if form is Format.JSON:
        found = [asdict(each) | {"allowed": name_in_settings(each) in allowed} for each in changes]
        return json.dumps(found, indent=2, ensure_ascii=False) + "\n"
    show = _text if form is Format.TEXT else _annotation
    return "".join(f"{show(each, is_allowed=name_in_settings(each) in allowed)}\n" for each in changes)


def _text(change: Change, *, is_allowed: bool) -> str:
    note = " (allowed)" if is_allowed else ""
    callers = f"\n    {visible('hits ' + ', '.join(change.callers))}" if change.callers else ""
    place = f"{change.location.file}:{change.location.line}"
    return visible(f"{place}: {change.severity}{note} {change.id} {change.subject}: {change.text}") + callers


def _annotation(change: Change, *, is_allowed: bool) -> str:
    kind = "notice" if is_allowed else ANNOTATIONS[change.severity]
    callers = f" It hits {', '.join(change.callers)}." if change.callers else ""
    message = f"{change.subject}: {change.text}{callers}"
    return annotation(kind, change.location.file, change.location.line, change.id, message)


def name_in_settings(change: Change) -> str:
    """Return the name of a change in the setting `allowed-changes`: "SCOPE_ADDED solo60.gym.v1.GymService/GetGym"."""
    return f"{change.id} {change.subject}"
