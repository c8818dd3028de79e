"""Comments of the contracts as paragraphs and first sentences."""

from __future__ import annotations

import re

_BLANK_LINE = re.compile(r"\n\s*\n")
# A line of a list, or an indented line, is a line of its own.
_OWN_LINE = re.compile(r"(?:[-*] |\d+\. |\s{2,})")
_END_OF_SENTENCE = re.compile(r"(?<=[.?!])\s")


def paragraphs(comment: str) -> list[str]:
    """Return the paragraphs of a comment, and each line of its lists, without the line breaks of the source."""
    found: list[str] = []
    for block in _BLANK_LINE.split(comment):
        lines: list[str] = []
        for line in block.splitlines():
            if lines and not _OWN_LINE.match(line):
                lines[-1] += f" {line.strip()}"
            else:
                lines.append(line.strip())
        found += filter(None, lines)
    return found


def first_sentence(comment: str) -> str:
    """Return the first sentence of a comment on one line."""
    return _END_OF_SENTENCE.split(" ".join(comment.split()), maxsplit=1)[0]


def one_line(comment: str) -> str:
    """Return a comment on one line."""
    return " ".join(comment.split())
