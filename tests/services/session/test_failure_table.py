from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "failure-modes.md"
TESTS = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))


def rows() -> list[list[str]]:
    """Return the cells of each row of the page's tables."""
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells if row[0] not in ("step", "---")]


@pytest.mark.requirement("J6")
def test_each_row_names_a_test_that_exists() -> None:
    """Each row of docs/failure-modes.md names a test that exists."""
    named = [re.fullmatch(r"`(test_\w+)`", row[-1]) for row in rows()]

    assert len(named) >= 24
    assert all(named)
    assert [name[1] for name in named if name and f"def {name[1]}(" not in TESTS] == []


@pytest.mark.requirement("J6")
def test_each_row_has_all_its_cells() -> None:
    """Each row of docs/failure-modes.md has all five cells filled in."""
    assert {len(row) for row in rows()} == {5}
    assert [row for row in rows() if not all(row)] == []
