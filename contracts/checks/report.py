"""Report of findings: as text, as JSON, or as annotations of GitHub."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from contracts.output import Format, annotation, visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from contracts.checks.finding import Finding


def report(findings: Sequence[Finding], form: Format) -> str:
    """Return findings as text with one line each, or as one JSON list. Without findings, text is empty."""
    if form is Format.JSON:
        return json.dumps([asdict(finding) for finding in findings], indent=2, ensure_ascii=False) + "\n"
    line_of = _text if form is Format.TEXT else _annotation
    return "".join(f"{line_of(finding)}\n" for finding in findings)


def _text(finding: Finding) -> str:
    place = f"{finding.file}:{finding.line}" if finding.line else finding.file
    return visible(f"{place}: {finding.id}: {finding.message}")


def _annotation(finding: Finding) -> str:
    return annotation("error", finding.file, finding.line, finding.id, finding.message)
