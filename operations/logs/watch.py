"""Watch over the log files of a local mesh: undeclared calls, and the last error."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from local.log_follower import LogFollower
from local.log_reader import LogLine, services_with_logs

if TYPE_CHECKING:
    from pathlib import Path

# An undeclared call is logged at most once per minute while it happens, so after an hour it has stopped.
UNDECLARED_CALL_SHOWN = timedelta(hours=1)
# Only the end of each log is read at first, so that the first read takes well under a second.
FIRST_BYTES = 4 * 1024 * 1024
# Most lines are about neither. A text search is cheaper than parsing them.
_UNDECLARED = b'"event":"undeclared call"'
_ERRORS = (b'"level":"error"', b'"level":"critical"')


@dataclass(frozen=True, slots=True)
class UndeclaredCall:
    """Call from `method` of `service` to `callee`, both by full name, which the contract does not list."""

    service: str
    method: str
    callee: str


@dataclass(frozen=True, slots=True)
class LogFindings:
    """Undeclared calls of the last hour, and the last line at level error or above, if there is one."""

    undeclared: tuple[UndeclaredCall, ...] = ()
    last_error: LogLine | None = None


class LogWatch:
    """Findings in the logs in `folder`. Each `read` reads only the lines since the last one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._followers: dict[str, LogFollower] = {}
        self._undeclared: dict[UndeclaredCall, str] = {}
        self._last_error: LogLine | None = None

    def read(self, now: datetime) -> LogFindings:
        """Read the new lines of all logs, and return all findings; raise OSError if a log cannot be read.

        `now` is the time of the system, as in log lines.
        """
        for service in services_with_logs(self._folder):
            if service not in self._followers:
                self._followers[service] = LogFollower(self._folder, service, history_bytes=FIRST_BYTES)
            for raw in self._followers[service].new_raw_lines():
                self._note(raw, service)
        oldest = (now.astimezone(UTC) - UNDECLARED_CALL_SHOWN).isoformat()
        self._undeclared = {call: time for call, time in self._undeclared.items() if time >= oldest}
        return LogFindings(tuple(self._undeclared), self._last_error)

    def close(self) -> None:
        """Close all files."""
        for follower in self._followers.values():
            follower.close()

    def _note(self, raw: bytes, service: str) -> None:
        if _UNDECLARED in raw:
            line = LogLine.parse(raw.decode("utf-8", "replace"), service)
            call = UndeclaredCall(line.service, str(line.facts.get("method", "")), str(line.facts.get("callee", "")))
            self._undeclared[call] = line.timestamp
        elif any(level in raw for level in _ERRORS):
            line = LogLine.parse(raw.decode("utf-8", "replace"), service)
            # A text inside of another value can look like a level.
            is_error = line.facts.get("level") in ("error", "critical")
            if is_error and (self._last_error is None or line.timestamp >= self._last_error.timestamp):
                self._last_error = line
