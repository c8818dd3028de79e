"""Log lines of a local mesh: filter, history and text for people."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Self

from grpc import StatusCode

from contracts.names import short_name
from contracts.services import SERVICE_NAMES
from interceptors.access_log import EVENT
from local.log_reader import services_with_logs, value_text
from local.parts import CONSOLE
from operations.invalid_filter import InvalidFilter

if TYPE_CHECKING:
    from pathlib import Path

    from local.log_reader import LogLine

LEVELS = ("debug", "info", "warning", "error", "critical")
# Every code except OK.
FAILED = "failed"
CODES = tuple(code.name for code in StatusCode)
# Facts that have their own place in the text of a line, or the same value in every line of a service.
EXCLUDED_FACTS = frozenset({"timestamp", "service", "level", "event", "exception", "logger"})
# Facts in the headline of a call.
FACTS_OF_CALLS = frozenset({"method", "code", "duration_ms"})


@dataclass(frozen=True)
class LogFilter:
    """Filter of log lines. Empty fields match all lines.

    `correlation_id` also matches a trace id. `level` is the lowest level. Output that is not JSON has no level, and
    passes any. `text` and `method` ignore case and match a part: `text` of any fact, `method` of the full or the short
    name. `code` is a gRPC status code, or "failed" for every code except OK. Raises InvalidFilter for an unknown level
    or code.
    """

    level: str = ""
    text: str = ""
    correlation_id: str = ""
    method: str = ""
    code: str = ""

    def __post_init__(self) -> None:
        if self.level and self.level not in LEVELS:
            raise InvalidFilter("level", f'"{self.level}" is not a level. Use one of {", ".join(LEVELS)}.')
        if self.code and self.code not in (FAILED, *CODES):
            raise InvalidFilter("code", f'"{self.code}" is not a code. Use {FAILED} or one of {", ".join(CODES)}.')

    @classmethod
    def of(cls, *, level: str, text: str, correlation_id: str, method: str, code: str) -> Self:
        """Return a filter of fields as people type them: with spaces around them, and in any case."""
        code = code.strip()
        code = FAILED if code.lower() == FAILED else code.upper()
        return cls(level.strip().lower(), text.strip(), correlation_id.strip(), method.strip(), code)

    @cached_property
    def _needles(self) -> tuple[tuple[bytes, ...], ...]:
        """Texts in lower case of which a matching JSON line contains at least one per tuple."""
        code = "" if self.code == FAILED else self.code.lower()
        words = (self.text.lower(), self.correlation_id.lower(), self.method.lower().rpartition(".")[2], code)
        # JSON may escape the other characters.
        plain = (max(re.findall(r"[\w ./=@-]+", word, re.ASCII), key=len, default="") for word in words)
        levels = self._levels() if self.level not in ("", *LEVELS[:2]) else ()
        return (
            *((word.encode(),) for word in plain if word),
            *((tuple(f'"{each}"'.encode() for each in levels),) if levels else ()),
        )

    def may_match(self, raw: bytes) -> bool:
        """Return whether an unparsed line can match."""
        if not raw.startswith(b"{"):
            return True
        lower = raw.lower()
        return all(any(needle in lower for needle in needles) for needles in self._needles)

    def matches(self, line: LogLine) -> bool:
        """Return whether a line matches."""
        facts = line.facts
        level = str(facts.get("level", ""))
        return (
            (not level or not self.level or level in self._levels())
            and self.correlation_id in ("", line.correlation_id, facts.get("trace_id"))
            and (not self.text or self.text.lower() in line.search_text)
            and (not self.code or _has_code(self.code, str(facts.get("code", ""))))
            and (not self.method or _has_name(self.method.lower(), str(facts.get("method", ""))))
        )

    def _levels(self) -> tuple[str, ...]:
        return LEVELS[LEVELS.index(self.level) :]


def _has_code(wanted: str, code: str) -> bool:
    return code not in ("", StatusCode.OK.name) if wanted == FAILED else code == wanted


def _has_name(wanted: str, method: str) -> bool:
    return bool(method) and (wanted in method.lower() or wanted in short_name(method).lower())


def names_of_logs(folder: Path) -> list[str]:
    """Return the names of all parts of a mesh that have a log in `folder` or may soon have one."""
    return sorted({*SERVICE_NAMES, CONSOLE, *services_with_logs(folder)})


def headline(line: LogLine) -> str:
    """Return the event of a line; for a call, its method, code and duration."""
    facts = line.facts
    if is_call(line):
        return f"{facts['method']} {facts.get('code', '')} {facts.get('duration_ms', '')} ms"
    return str(facts.get("event", ""))


def is_call(line: LogLine) -> bool:
    """Return whether a line is one call in the access log."""
    return line.facts.get("event") == EVENT and "method" in line.facts


def other_facts(line: LogLine) -> dict[str, str]:
    """Return the facts of a line that `headline` does not contain, as text."""
    excluded = EXCLUDED_FACTS | FACTS_OF_CALLS if is_call(line) else EXCLUDED_FACTS
    return {name: value_text(value) for name, value in line.facts.items() if name not in excluded}


def printable(text: str) -> str:
    """Escape control characters and invisible ones, so that a log line can neither control a terminal nor mislead.

    For example, U+202E makes the rest of a line run from right to left.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
