"""Performance page: sections that each benchmark run replaces, between text that stays."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

Cells: TypeAlias = "Sequence[str]"


def fill_section(path: Path, name: str, text: str) -> None:
    """Replace the text between `<!-- bench NAME -->` and `<!-- end -->` in the page at `path`.

    Raises ValueError if the page has no such section.
    """
    page = path.read_text(encoding="utf-8")
    before, begin, rest = page.partition(f"<!-- bench {name} -->\n")
    if not begin:
        raise ValueError(f"{path} has no section called {name}.")
    _, end, after = rest.partition("<!-- end -->")
    path.write_text(f"{before}{begin}{text}\n{end}{after}", encoding="utf-8")


def markdown_table(headings: Cells, rows: Iterable[Cells]) -> str:
    """Return a Markdown table with its first column left-aligned and the others right-aligned."""
    ruler = ["---", *("---:" for _ in headings[1:])]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (headings, ruler, *rows))
