"""Report of findings: as text, as JSON, or as annotations of GitHub."""

from __future__ import annotations

import json
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from contracts.checks.finding import Finding


class Format(StrEnum):
    """Format of a report."""

    TEXT = "text"
    JSON = "json"
    GITHUB = "github"


def report(findings: Sequence[Finding], form: Format) -> str:
    """Return findings as text with one line each, or as one JSON list. Without findings, text is empty."""
    if form is Format.JSON:
        return json.dumps([asdict(finding) for finding in findings], indent=2, ensure_ascii=False) + "\n"
    line_of = _text if form is Format.TEXT else _annotation
    return "".join(f"{line_of(finding)}\n" for finding in findings)


def _text(finding: Finding) -> str:
    place = f"{finding.file}:{finding.line}" if finding.line else finding.file
    return f"{place}: {finding.id}: {finding.message}"


def _annotation(finding: Finding) -> str:
    line = f",line={finding.line}" if finding.line else ""
    title = _escaped(finding.id, ":,")
    return f"::error file={_escaped(finding.file, ':,')}{line},title={title}::{_escaped(finding.message)}"


def _escaped(text: str, more: str = "") -> str:
    """Return text as GitHub's workflow commands require: with percent codes, those of `more` in properties."""
    return "".join(f"%{ord(char):02X}" if char in f"%\r\n{more}" else char for char in text)
