from __future__ import annotations

import json

import pytest

from contracts.checks.finding import Finding
from contracts.checks.report import report
from contracts.output import Format

FOUND = [
    Finding("proto/a,b.proto", 7, "SCOPE_FORM", "acme.v1.S/Do: 100 % wrong."),
    Finding("c.proto", 0, "POLICY_MISSING", "acme.v1.S: has\nnone."),
]


@pytest.mark.parametrize(
    ("form", "lines"),
    [
        (
            Format.TEXT,
            [
                "proto/a,b.proto:7: SCOPE_FORM: acme.v1.S/Do: 100 % wrong.",
                r"c.proto: POLICY_MISSING: acme.v1.S: has\nnone.",
            ],
        ),
        (
            Format.GITHUB,
            [
                "::error file=proto/a%2Cb.proto,line=7,title=SCOPE_FORM::acme.v1.S/Do: 100 %25 wrong.",
                "::error file=c.proto,title=POLICY_MISSING::acme.v1.S: has%0Anone.",
            ],
        ),
    ],
)
def test_a_finding_is_a_line(form: Format, lines: list[str]) -> None:
    """A finding is one line of text, or an annotation with GitHub's escapes; without a line number if it is unknown."""
    assert report(FOUND, form).splitlines() == lines
    assert report([], form) == ""


def test_json_has_an_object_for_each_finding() -> None:
    """The JSON report is a list of objects with file, line, id and message."""
    first, second = json.loads(report(FOUND, Format.JSON))

    assert first == {
        "file": "proto/a,b.proto",
        "line": 7,
        "id": "SCOPE_FORM",
        "message": "acme.v1.S/Do: 100 % wrong.",
    }
    assert second["line"] == 0
    assert json.loads(report([], Format.JSON)) == []


def test_findings_sort_by_place() -> None:
    """Findings sort by file and line, and lines sort as numbers."""
    late, early = Finding("a.proto", 10, "A", "a"), Finding("a.proto", 9, "Z", "z")

    assert sorted([FOUND[1], late, early]) == [early, late, FOUND[1]]


def test_a_finding_sends_no_escape_sequence_to_the_terminal() -> None:
    """Invisible characters of a contract, such as escape sequences, are written as escapes."""
    finding = Finding("a.proto", 1, "SCOPE_FORM", 'acme.v1.S/Do: scopes: "\x1b[2J\u202e" is wrong.')

    assert report([finding], Format.TEXT).endswith(r'"\x1b[2J\u202e" is wrong.' + "\n")
