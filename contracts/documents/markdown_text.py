"""Parts of Markdown, as code hosts render it (GitHub Flavored Markdown)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_BLOCK_OF_CODE = re.compile(r"(^```.*?^```[ ]*$)", re.DOTALL | re.MULTILINE)
_FENCE = re.compile(r"^```", re.MULTILINE)
_HEADING = re.compile(r"^( {0,3})(#{1,6}(?= |$)|=+ *$|-+ *$|~~~)", re.MULTILINE)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_PARAGRAPH = re.compile(r"(\n{2,})")
_CELL = re.compile(r"((?<!\\)\||\n)")
# An escaped character, inline code, backticks without an end, and a character outside of code.
_ESCAPED_OR_CODE_OR_LESS_THAN = re.compile(r"\\.|(?<!`)(`+)(?!`).+?(?<!`)\1(?!`)|`+|<", re.DOTALL)


def code(text: str) -> str:
    """Return a text as inline code, in more backticks than follow each other in the text."""
    text = _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)
    fence = "`" * (max(map(len, re.findall("`+", text)), default=0) + 1)
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
    parts = _BLOCK_OF_CODE.split(text)
    parts[::2] = ["".join(map(_paragraph_without_html, _PARAGRAPH.split(each))) for each in parts[::2]]
    return "".join(parts)


def comment_text(comment: str) -> str:
    """Return a comment that leaves the rest of a document alone.

    It has no headings, no open block of code and no control characters.
    """
    parts = _BLOCK_OF_CODE.split(_CONTROL.sub("\N{REPLACEMENT CHARACTER}", comment))
    parts[::2] = [_HEADING.sub(r"\1\\\2", each) for each in parts[::2]]
    return "".join(parts) + ("\n```" if _FENCE.search(parts[-1]) else "")


def _paragraph_without_html(text: str) -> str:
    # Inline code ends before the next cell of a table.
    cells = _CELL.split(text) if text.startswith("| ") else [text]
    return "".join(
        _ESCAPED_OR_CODE_OR_LESS_THAN.sub(lambda found: "\\<" if found[0] == "<" else found[0], cell) for cell in cells
    )


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
