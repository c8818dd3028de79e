"""Report of changes: as text, as JSON, or as annotations of GitHub Actions."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from contracts.diff.kinds import Severity

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from contracts.diff.change import Change

ANNOTATIONS = {Severity.BREAKING: "error", Severity.RISKY: "warning", Severity.SAFE: "notice"}


def as_text(changes: Sequence[Change], allowed: Collection[str]) -> str:
    """Return one line for each change, and one for its callers."""
    lines = []
    for each in changes:
        note = " (allowed)" if name_in_settings(each) in allowed else ""
        place = f"{each.location.file}:{each.location.line}"
        lines.append(f"{place}: {each.severity}{note} {each.id} {each.subject}: {each.text}")
        if each.callers:
            lines.append(f"    hits {', '.join(each.callers)}")
    return "\n".join(lines)


def as_json(changes: Sequence[Change], allowed: Collection[str]) -> str:
    """Return a JSON array with an object for each change."""
    found = [asdict(each) | {"allowed": name_in_settings(each) in allowed} for each in changes]
    return json.dumps(found, indent=2, ensure_ascii=False)


def as_annotations(changes: Sequence[Change], allowed: Collection[str]) -> str:
    """Return one workflow command of GitHub Actions for each change. An allowed change is a notice."""
    lines = []
    for each in changes:
        kind = "notice" if name_in_settings(each) in allowed else ANNOTATIONS[each.severity]
        hits = f" It hits {', '.join(each.callers)}." if each.callers else ""
        message = f"{each.subject}: {each.text}{hits}".replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
        lines.append(f"::{kind} file={each.location.file},line={each.location.line},title={each.id}::{message}")
    return "\n".join(lines)


FORMATS: Mapping[str, Callable[[Sequence[Change], Collection[str]], str]] = {
    "text": as_text,
    "json": as_json,
    "github": as_annotations,
}


def name_in_settings(change: Change) -> str:
    """Return the name of a change in the setting `allow`: "SCOPE_ADDED solo60.gym.v1.GymService/GetGym"."""
    return f"{change.id} {change.subject}"
