"""Formats of the commands' output: text, JSON, or annotations of GitHub Actions."""

from __future__ import annotations

from enum import StrEnum


class Format(StrEnum):
    """Format of a report."""

    TEXT = "text"
    JSON = "json"
    GITHUB = "github"


def visible(text: str) -> str:
    """Return a text in one line, with an escape for each control character and other invisible one.

    Contracts may contain any character in a scope or a name, and a terminal would obey an escape sequence.
    """
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def annotation(kind: str, file: str, line: int, title: str, message: str) -> str:
    """Return a workflow command of GitHub Actions, such as "::error file=a.proto,line=1,title=ID::message".

    `kind` is error, warning or notice. The line is omitted if it is 0.
    """
    place = f",line={line}" if line else ""
    return f"::{kind} file={_escaped(file, ':,')}{place},title={_escaped(title, ':,')}::{_escaped(message)}"


def _escaped(text: str, more: str = "") -> str:
    """Return text with percent codes for line breaks, "%" and `more`, as GitHub's workflow commands require."""
    return "".join(f"%{ord(char):02X}" if char in f"%\r\n{more}" else char for char in text)
