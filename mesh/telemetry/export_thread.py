"""Background thread that exports at an interval and never blocks the process at its end."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

# A cancelled export ends at once, unless the machine is busy.
CANCEL_TIMEOUT_S = 0.5

_log = structlog.stdlib.get_logger("solo60.telemetry")


class ExportThread:
    """Thread that calls `export` every `interval_s`, earlier after `wake`, and once more after `request_stop`.

    An exception of `export` is logged, and the thread continues.
    """

    def __init__(self, name: str, export: Callable[[], None], interval_s: float) -> None:
        self._name = name
        self._export = export
        self._interval_s = interval_s
        self._is_due = threading.Event()
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Export soon, without waiting for the end of the interval."""
        self._is_due.set()

    def request_stop(self) -> None:
        """Export a last time and end; do not wait for it."""
        self._is_stopping = True
        self._is_due.set()

    def stop(self, timeout_s: float, cancel: Callable[[], None]) -> None:
        """Export a last time within `timeout_s`, then call `cancel`, which must end an unfinished export."""
        self.request_stop()
        self._thread.join(max(0.0, timeout_s))
        cancel()
        self._thread.join(CANCEL_TIMEOUT_S)

    def _run(self) -> None:
        is_last = False
        while not is_last:
            self._is_due.wait(self._interval_s)
            self._is_due.clear()
            is_last = self._is_stopping
            try:
                self._export()
            except Exception:  # noqa: BLE001 - no failure may end the thread
                _log.exception("an export failed", what=self._name)
