"""State of an export: whether the destination accepts this process's spans, metrics or log lines."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import copy_context
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_log = structlog.stdlib.get_logger("solo60.telemetry")
# States of the exports that are neither exporters of spans nor the log itself.
_open: list[ExportState] = []


class ExportState:
    """State of one export; logs its first failure and its recovery.

    `what` is "spans", "metrics" or "log lines". `failure` is the message without the reason: "traces do not reach the
    collector". `trouble` is the message of the last failure, or "" if the last export succeeded. `lost` is the number
    of items that were not exported since the last report.
    """

    def __init__(self, what: str, failure: str) -> None:
        self._what = what
        self._failure = failure
        # Exports run in threads, which inherit no context, and their log lines name the service.
        self._context = copy_context()
        self._is_exporting = False
        self.lost = 0
        self.trouble = ""

    @property
    def trouble_at_exit(self) -> str:
        """Value of `trouble` at the end of the process. An unfinished export counts as a failure."""
        return self.trouble or (f"{self._failure}." if self._is_exporting else "")

    def attempt(self, export: Callable[[], bool], number: int) -> bool:
        """Run `export`, which returns whether it succeeded, for this number of spans, metrics or log lines.

        Returns whether it succeeded. An OSError counts as a failure, with its text as the reason.
        """
        self._is_exporting = True
        reason = ""
        try:
            succeeded = export()
        except OSError as error:
            succeeded, reason = False, f": {error.strerror}"
        self._is_exporting = False
        if not succeeded:
            self.count_lost(number)
        self._set_trouble("" if succeeded else f"{self._failure}{reason}.")
        return succeeded

    def count_lost(self, number: int) -> None:
        """Count items that were not exported; the next successful export logs their number."""
        self.lost += number

    def _set_trouble(self, trouble: str) -> None:
        before, self.trouble = self.trouble, trouble
        if not structlog.is_configured():  # a command: its output is for the user
            return
        if trouble and not before:
            self._context.copy().run(_log.warning, f"{self._what} are not exported", reason=trouble)
        elif not trouble and (before or self.lost):
            lost, self.lost = self.lost, 0
            self._context.copy().run(_log.info, f"{self._what} are exported again", lost=lost)


@contextmanager
def reported(state: ExportState) -> Iterator[None]:
    """Include `state` in `export_troubles` while the context is open."""
    _open.append(state)
    try:
        yield
    finally:
        _open.remove(state)


def export_troubles() -> list[str]:
    """Return the messages of the exports that fail now."""
    return [state.trouble for state in _open if state.trouble]
