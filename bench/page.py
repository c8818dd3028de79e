"""The page that people read: sections which each run of a benchmark writes anew, between text that stays."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

Cells: TypeAlias = "Sequence[str]"


def fill_section(path: Path, name: str, text: str) -> None:
    """Replace, in the page at `path`, what stands between `<!-- bench NAME -->` and `<!-- end -->`."""
    page = path.read_text(encoding="utf-8")
    before, begin, rest = page.partition(f"<!-- bench {name} -->\n")
    _, end, after = rest.partition("<!-- end -->")
    path.write_text(f"{before}{begin}{text}\n{end}{after}", encoding="utf-8")


def markdown_table(headings: Cells, rows: Iterable[Cells]) -> str:
    """Return a table whose first column is left-aligned and whose others are not."""
    ruler = ["---", *("---:" for _ in headings[1:])]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (headings, ruler, *rows))
