"""Handler that writes log records as JSON lines, whole and in order, and never raises into the logging code."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import orjson

from interceptors.access_log import EVENT, LOGGER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import BinaryIO

    from mesh.telemetry.foreign_lines import ForeignRecord

# A killed process loses at most this much of its access log.
MAX_DELAY_S = 0.02
# Logger name of output that the process or one of its libraries wrote past the log.
FOREIGN_LOGGER = "foreign"
# orjson must not serialize dataclasses itself: their repr, which may hide fields, is logged instead.
_OPTIONS = orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z | orjson.OPT_PASSTHROUGH_DATACLASS


class LogLineHandler(logging.Handler):
    """Handler for the access log and all loggers, which share one stream.

    Each line is written in one piece. Lines of loggers are written before the call returns. Lines of the access log
    are formatted and written together, every 20 ms and before any later line. Formatting a line by itself costs twice
    as much as in a batch. Writing a line by itself costs more than everything else, because other threads take over
    meanwhile. A failing stream (a full disk, a closed pipe) does not raise; `trouble` then gives the reason. A
    partially written line is ended before the next one.

    `export`, if set, receives all lines too, one or several at a time.
    """

    def __init__(self, stream: BinaryIO, service: str) -> None:
        super().__init__()
        self._stream = stream
        self._service = service
        self.trouble = ""
        self.export: Callable[[bytes], None] | None = None
        self._ends_with_partial_line = False
        # Reentrant, because a finalizer may log while this thread writes a line.
        self._writing = threading.RLock()
        # Waiting access log lines, each with the end time of its call in seconds since 1970.
        self._waiting: deque[tuple[float, Mapping[str, object]]] = deque()
        self._flushed_by: asyncio.AbstractEventLoop | None = None

    def write_call(self, facts: Mapping[str, object]) -> None:
        """Write the facts of one call from the access log, with the keys that all lines have."""
        self._waiting.append((time.time(), facts))
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.flush()
            return
        # Schedule a flush per loop: an earlier loop may have been closed before its flush.
        if self._flushed_by is not loop:
            self._flushed_by = loop
            loop.call_later(MAX_DELAY_S, self.flush)

    def write_foreign(self, record: ForeignRecord) -> None:
        """Write a record of foreign output."""
        self._write(foreign_line(record, self._service))

    def emit(self, record: logging.LogRecord) -> None:
        """Write the formatted `record`."""
        try:
            self._write(self.format(record).encode("ascii", "backslashreplace") + b"\n")
        except Exception:  # noqa: BLE001 - required by logging.Handler: failures are printed to standard error
            self.handleError(record)

    def flush(self) -> None:
        """Write the waiting lines; logging calls this when the process ends."""
        self._write(b"")

    def _write(self, line: bytes) -> None:
        """Write the waiting lines, then `line`."""
        try:
            with self._writing:
                self._flushed_by = None
                text = b"".join((*self._pop_waiting_lines(), line))
                if self.export is not None and text:
                    self.export(text)
                if self._ends_with_partial_line:
                    text = b"\n" + text
                while text:  # an unbuffered stream may accept only a part, and another writer may come in between
                    taken = self._stream.write(text) or len(text)
                    self._ends_with_partial_line = text[taken - 1 : taken] != b"\n"
                    text = text[taken:]
                self._stream.flush()
                self.trouble = ""
        except (OSError, ValueError) as error:  # there is no other place to report it
            self.trouble = f"its log cannot be written: {getattr(error, 'strerror', None) or error}."

    def _pop_waiting_lines(self) -> Iterator[bytes]:
        while self._waiting:
            ended, facts = self._waiting.popleft()
            at = datetime.fromtimestamp(ended, UTC)
            yield json_line(
                {"service": self._service, **facts, "event": EVENT, "level": "info", "logger": LOGGER, "timestamp": at}
            )


def foreign_line(record: ForeignRecord, service: str) -> bytes:
    """Return foreign output as a log line, with the keys that all lines have."""
    facts: dict[str, object] = {
        "service": service,
        "event": record.text,
        "level": record.level,
        "logger": FOREIGN_LOGGER,
        "timestamp": datetime.now(UTC),
    }
    return json_line(facts | {"dropped": record.dropped} if record.dropped else facts)


def json_line(facts: Mapping[str, object]) -> bytes:
    """Return `facts` as one line of ASCII JSON; values that JSON cannot represent become text.

    The output is ASCII, because some characters end a line or control a terminal: U+0085, U+009B, U+2028.
    """
    try:
        line = orjson.dumps(facts, default=_text, option=_OPTIONS)
    except (TypeError, RecursionError):
        return _ascii({str(key): _simple(value) for key, value in facts.items()})
    return line if line.isascii() else _ascii(orjson.loads(line))


def _ascii(facts: dict[str, object]) -> bytes:
    return json.dumps(facts, separators=(",", ":")).encode() + b"\n"


def _simple(value: object) -> object:
    return value if value is None or type(value) in {str, int, float, bool} else _text(value)


def _text(value: object) -> str:
    try:
        return repr(value)
    except Exception:  # noqa: BLE001 - any object may be logged
        return f"<{type(value).__name__}>"
