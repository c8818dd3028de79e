"""Parts of Markdown, as code hosts render it (GitHub Flavored Markdown)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_CODE_OR_LESS_THAN = re.compile(r"```.*?```|`[^`]*`|<", re.DOTALL)


def code(text: str) -> str:
    """Return a text as inline code."""
    fence = "``" if "`" in text else "`"
    return f"{fence}{text}{fence}" if fence == "`" else f"{fence} {text} {fence}"


def code_block(text: str, language: str = "") -> str:
    """Return a text as a block of code."""
    return f"```{language}\n{text}\n```"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table. Line breaks in cells become spaces."""
    lines = [f"| {' | '.join(header)} |", f"| {' | '.join('---' for _ in header)} |"]
    lines += [f"| {' | '.join(map(_cell, row))} |" for row in rows]
    return "\n".join(lines)


def anchor(heading: str) -> str:
    """Return the name that code hosts give to a heading, for links within a document."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def link(text: str, target: str) -> str:
    """Return a link."""
    return f"[{text}]({target})"


def without_html(text: str) -> str:
    """Return Markdown in which placeholders such as <id>, outside of code, are no HTML tags."""
    return _CODE_OR_LESS_THAN.sub(lambda found: "\\<" if found[0] == "<" else found[0], text)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
