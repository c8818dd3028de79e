"""Filter for log lines of gRPC's Python layer: limits their rate, and removes the bytes that they quote.

A peer without a key can cause such lines: grpcio logs an error with the raw value for each metadata value that is not
UTF-8. An API key with one wrong byte is such a value, so without this filter the log would hold the key.
"""

from __future__ import annotations

import logging
import threading
import time

from interceptors.rate_limit.gcra import Gcra
from mesh.telemetry.foreign_lines import RECORDS_BURST, RECORDS_PER_S

LIBRARY = "grpc"


class LibraryLineFilter(logging.Filter):
    """Log filter that limits each message text of gRPC's loggers like foreign lines, and admits all other lines."""

    def __init__(self) -> None:
        super().__init__()
        self._by_message = Gcra(RECORDS_PER_S, RECORDS_BURST)
        self._dropped = 0
        # Any thread may log, but Gcra is not thread-safe.
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to log `record`; replace bytes among its arguments by their number."""
        if record.name.partition(".")[0] != LIBRARY:
            return True
        with self._lock:
            # A message without arguments may be formatted already, so all such messages share one limit.
            if self._by_message.admit(record.msg if record.args else "", time.monotonic()) > 0:
                self._dropped += 1
                return False
            dropped, self._dropped = self._dropped, 0
        if isinstance(record.args, tuple):
            record.args = tuple(f"<{len(arg)} bytes>" if isinstance(arg, bytes) else arg for arg in record.args)
        if dropped:
            record.msg, record.args = f"{record.getMessage()} ({dropped} lines before it were dropped)", ()
        return True
