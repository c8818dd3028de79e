"""Log lines: whatever is logged becomes one line of JSON, written whole and at once, and never fails who logs it."""

from __future__ import annotations

import json
import logging
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import orjson

from interceptors.access_log import EVENT, LOGGER

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import BinaryIO

# A dataclass may hide some of its fields from its repr: that is what is logged of it.
_OPTIONS = orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z | orjson.OPT_PASSTHROUGH_DATACLASS


class LogLines(logging.Handler):
    """Writes the lines of the access log and those of every logger to one stream.

    A line is written in one piece and is out when the call returns, so a crash loses none. A stream that takes no more
    (a full disk, a closed pipe) stops no work.
    """

    def __init__(self, stream: BinaryIO, service: str) -> None:
        super().__init__()
        self._stream = stream
        self._service = service
        self._writing = threading.Lock()

    def write_call(self, facts: Mapping[str, object]) -> None:
        """Write the facts of one call, as the access log gives them, with the keys of all other lines."""
        now = datetime.now(UTC)
        self._write(
            json_line(
                {"service": self._service, **facts, "event": EVENT, "level": "info", "logger": LOGGER, "timestamp": now}
            )
        )

    def emit(self, record: logging.LogRecord) -> None:
        """Write what the formatter makes of `record`."""
        try:
            self._write(self.format(record).encode("ascii", "backslashreplace") + b"\n")
        except Exception:  # noqa: BLE001 - as logging.Handler asks for: what cannot be logged is told on standard error
            self.handleError(record)

    def _write(self, line: bytes) -> None:
        try:
            with self._writing:
                while line:  # standard output without a buffer may take a part, and lets others write between two
                    line = line[self._stream.write(line) or len(line) :]
                self._stream.flush()
        except (OSError, ValueError):  # nothing is left to say it to
            pass


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
