"""Places in a JSON text: the line of each value, found by the path that a violation names."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

# A string, a mark, or the text of a number or a word.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s{}\[\]:,"]+', re.DOTALL)
_INDEX = re.compile(r"\[(\d+)\]")


@dataclass(slots=True)
class _Open:
    """Object or list whose end has not been read. `key` is the next key, or None in a list."""

    path: str
    is_list: bool
    key: str | None = None
    index: int = 0
    expects_key: bool = field(default=True)


def line_of_path(text: str, path: str) -> int | None:
    """Return the line, from 1, of the value at `path` ("items[0].period.start_time"), or of the nearest one around it.

    Names may be those of the contract or of JSON ("start_time", "startTime"). Returns None if no part of the path is in
    the text.
    """
    lines = _lines_by_path(text)
    parts = _canonical(path)
    while parts:
        if parts in lines:
            return lines[parts]
        parts = parts[: max(parts.rfind("."), parts.rfind("["), 0)]
    return None


def line_of_error(text: str) -> int | None:
    """Return the line, from 1, at which `text` stops being JSON, or None if it is JSON."""
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return error.lineno
    return None


def _lines_by_path(text: str) -> dict[str, int]:
    lines: dict[str, int] = {}
    stack: list[_Open] = []
    for found in _TOKEN.finditer(text):
        word, top = found[0], stack[-1] if stack else None
        if word in "}]":
            if stack:
                stack.pop()
        elif word == ",":
            if top is not None:
                top.expects_key, top.index = True, top.index + 1
        elif word == ":":
            if top is not None:
                top.expects_key = False
        elif top is not None and not top.is_list and top.expects_key:
            top.key = word.strip('"')
            lines.setdefault(_path_of(top), text.count("\n", 0, found.start()) + 1)
        else:
            path = _path_of(top) if top is not None else ""
            lines.setdefault(path, text.count("\n", 0, found.start()) + 1)
            if word in "{[":
                stack.append(_Open(path, word == "["))
    return lines


def _path_of(top: _Open) -> str:
    if top.is_list:
        return f"{top.path}[{top.index}]"
    return _canonical(f"{top.path}.{top.key or ''}")


def _canonical(path: str) -> str:
    """Return a path in which both forms of a name are the same."""
    return _INDEX.sub(r"[\1]", path).replace("_", "").lower().strip(".")
