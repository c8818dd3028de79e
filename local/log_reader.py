"""Reader of a local mesh's log files, ordered by time, also while the files are written and rotated.

The reader starts at the end of each file and stops as soon as it has enough lines, so it is fast with large files.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from functools import cached_property
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path
    from typing import BinaryIO

SUFFIX = ".jsonl"
OLD_SUFFIX = ".old.jsonl"
BLOCK_BYTES = 64 * 1024
# Facts that a search for text ignores, because they occur in every line.
NOT_SEARCHED = frozenset({"level", "logger", "service", "timestamp"})


@dataclass(frozen=True)
class LogLine:
    """One line of a log.

    `timestamp` is ISO 8601 in UTC. A line that is not JSON, for example of a process that could not start, gets the
    timestamp of the line before it. Such a line has one fact, "event", which is its text.
    """

    timestamp: str
    service: str
    facts: dict[str, Any]

    @classmethod
    def parse(cls, text: str, service: str, previous: str = "") -> Self:
        """Parse one line of the log of `service`; `previous` is the timestamp of the line before it."""
        try:
            facts = json.loads(text)
        except (ValueError, RecursionError):
            facts = None
        if not isinstance(facts, dict):
            facts = {"event": text}
        return cls(str(facts.get("timestamp", previous)), str(facts.get("service", service)), facts)

    @property
    def correlation_id(self) -> str:
        """The correlation id of the line's call, or ""."""
        return str(self.facts.get("correlation_id", ""))

    @cached_property
    def search_text(self) -> str:
        """The values of the facts in lower case, one per line."""
        return "\n".join(value_text(value) for name, value in self.facts.items() if name not in NOT_SEARCHED).lower()


class LineFilter(Protocol):
    """Condition on log lines."""

    def may_match(self, raw: bytes) -> bool:
        """Return whether an unparsed line can match. A fast check, so that most lines need no parsing."""

    def matches(self, line: LogLine) -> bool:
        """Return whether a line matches."""


class LogPosition(NamedTuple):
    """Offset in bytes in one log file, which device and inode identify. (0, 0) means no file."""

    file: tuple[int, int]
    offset: int


def value_text(value: object) -> str:
    """Return the text of a fact: a string as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def services_with_logs(folder: Path) -> list[str]:
    """Return the names of the services with a log in `folder`."""
    return sorted({path.name.partition(".")[0] for path in folder.glob(f"*{SUFFIX}")})


def last_lines(
    folder: Path,
    services: Iterable[str],
    number: int,
    wanted: LineFilter,
    before: Mapping[str, LogPosition] | None = None,
) -> list[LogLine]:
    """Return the last `number` matching lines of all these services together, the latest last.

    `before` limits the logs of services to the lines before a position.
    """
    found: list[LogLine] = []
    for service in services:
        raws = _lines_backwards(folder, service, (before or {}).get(service))
        found += reversed(_latest(raws, service, number, wanted))
    # Sorting is stable, so lines of one service with the same timestamp keep their order.
    return sorted(found, key=attrgetter("timestamp"))[-number:]


def _latest(raws: Iterator[bytes], service: str, number: int, wanted: LineFilter) -> list[LogLine]:
    """Return the first `number` matching lines of `raws`, which begin with the latest line."""
    found: list[LogLine] = []
    # Lines without a timestamp of their own get that of the line before, which comes later in `raws`.
    undated: list[LogLine] = []
    for raw in raws:
        if not undated and not wanted.may_match(raw):
            continue
        line = LogLine.parse(text_of(raw), service)
        is_wanted = wanted.matches(line) and len(found) + len(undated) < number
        if not line.timestamp:
            undated += [line] if is_wanted else []
            continue
        found += (replace(each, timestamp=line.timestamp) for each in undated)
        undated.clear()
        found += [line] if is_wanted else []
        if len(found) >= number:
            break
    return found + undated


def _lines_backwards(folder: Path, service: str, before: LogPosition | None) -> Iterator[bytes]:
    """Yield the complete lines of a log without their ends, the latest first."""
    seen: set[tuple[int, int]] = set()
    for path in (folder / f"{service}{SUFFIX}", folder / f"{service}{OLD_SUFFIX}"):
        try:
            file = path.open("rb")
        except FileNotFoundError:
            continue
        with file:
            identity = identity_of(file)
            if identity in seen:  # the file was rotated since the loop opened it
                continue
            seen.add(identity)
            end = file.seek(0, os.SEEK_END)
            if before is not None and identity != before.file:
                continue
            if before is not None:
                end, before = min(end, before.offset), None
            yield from _backwards(file, end)


def _backwards(file: BinaryIO, end: int) -> Iterator[bytes]:
    """Yield the complete lines before the offset `end`, the latest first."""
    # Parts of the line whose beginning is not read yet, the last part first.
    parts: list[bytes] = []
    is_complete = False
    while end > 0:
        start = max(0, end - BLOCK_BYTES)
        file.seek(start)
        block = file.read(end - start)
        end = start
        first, *rest = block.split(b"\n")
        if rest:
            parts.append(rest.pop())
            if is_complete:
                yield b"".join(reversed(parts))
            is_complete = True
            yield from reversed(rest)
            parts = []
        parts.append(first)
    if is_complete:
        yield b"".join(reversed(parts))


def identity_of(file: BinaryIO) -> tuple[int, int]:
    """Return the device and the inode of an open file."""
    stat = os.fstat(file.fileno())
    return stat.st_dev, stat.st_ino


def text_of(raw: bytes) -> str:
    """Return the text of a raw line, without its end."""
    return raw.decode("utf-8", "replace").rstrip("\r\n")
