"""Log lines: whatever is logged becomes one line of JSON, written whole and in order, and never fails who logs it."""

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
    from collections.abc import Iterator, Mapping
    from typing import BinaryIO

    from mesh.foreign_lines import ForeignRecord

# What a process that is killed may lose of its access log.
LONGEST_WAIT_S = 0.02
# The logger of output that the process, or a library within it, has written past the log.
FOREIGN_LOGGER = "foreign"
# A dataclass may hide some of its fields from its repr: that is what is logged of it.
_OPTIONS = orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z | orjson.OPT_PASSTHROUGH_DATACLASS


class LogLines(logging.Handler):
    """Writes the lines of the access log and those of every logger to one stream.

    A line is written in one piece. Those of loggers are out when the call returns. Those of the access log are made and
    written together, every 20 ms and before any line that comes after them: to write each by itself costs more than all
    else about it, as other threads take over meanwhile, and to make each by itself costs twice as much as to make many
    at once. A stream that takes no more (a full disk, a closed pipe) stops no work; `trouble` then says why, and a line
    that it took in part is ended before the next one.
    """

    def __init__(self, stream: BinaryIO, service: str) -> None:
        super().__init__()
        self._stream = stream
        self._service = service
        self.trouble = ""
        self._is_torn = False
        # A finalizer that runs in the midst of a line may log one of its own.
        self._writing = threading.RLock()
        # Each with the time of its call's end, in seconds since 1970.
        self._waiting: deque[tuple[float, Mapping[str, object]]] = deque()
        self._flushed_by: asyncio.AbstractEventLoop | None = None

    def write_call(self, facts: Mapping[str, object]) -> None:
        """Write the facts of one call, as the access log gives them, with the keys of all other lines."""
        self._waiting.append((time.time(), facts))
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.flush()
            return
        # Another loop may have been closed before it came to flush.
        if self._flushed_by is not loop:
            self._flushed_by = loop
            loop.call_later(LONGEST_WAIT_S, self.flush)

    def write_foreign(self, record: ForeignRecord) -> None:
        """Write a record of output that was written past the log."""
        self._write(foreign_line(record, self._service))

    def emit(self, record: logging.LogRecord) -> None:
        """Write what the formatter makes of `record`."""
        try:
            self._write(self.format(record).encode("ascii", "backslashreplace") + b"\n")
        except Exception:  # noqa: BLE001 - as logging.Handler asks for: what cannot be logged is told on standard error
            self.handleError(record)

    def flush(self) -> None:
        """Write the lines that wait: what logging asks for when the process ends."""
        self._write(b"")

    def _write(self, line: bytes) -> None:
        """Write the lines that wait, and then this one."""
        try:
            with self._writing:
                self._flushed_by = None
                text = b"".join((b"\n" if self._is_torn else b"", *self._lines_that_wait(), line))
                while text:  # standard output without a buffer may take a part, and lets others write between two
                    taken = self._stream.write(text) or len(text)
                    self._is_torn = text[taken - 1 : taken] != b"\n"
                    text = text[taken:]
                self._stream.flush()
                self.trouble = ""
        except (OSError, ValueError) as error:  # nothing is left to say it to
            self.trouble = f"its log takes nothing: {getattr(error, 'strerror', None) or error}."

    def _lines_that_wait(self) -> Iterator[bytes]:
        while self._waiting:
            ended, facts = self._waiting.popleft()
            at = datetime.fromtimestamp(ended, UTC)
            yield json_line(
                {"service": self._service, **facts, "event": EVENT, "level": "info", "logger": LOGGER, "timestamp": at}
            )


def foreign_line(record: ForeignRecord, service: str) -> bytes:
    """Return output that was written past the log as one of its lines, with the keys of all others."""
    facts: dict[str, object] = {
        "service": service,
        "event": record.text,
        "level": record.level,
        "logger": FOREIGN_LOGGER,
        "timestamp": datetime.now(UTC),
    }
    return json_line(facts | {"dropped": record.dropped} if record.dropped else facts)


def json_line(facts: Mapping[str, object]) -> bytes:
    """Return `facts` as JSON in ASCII with a line's end; a value that JSON does not know becomes text.

    Beyond ASCII there are characters that end a line or speak to a terminal: U+0085, U+009B, U+2028.
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
