"""Cached content of a file that may change."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Generic, TypeVar

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# Longest delay until a change is noticed.
RELOAD_INTERVAL_S = 0.25
Content = TypeVar("Content")

_log = structlog.stdlib.get_logger("solo60.files")


class WatchedFile(Generic[Content]):
    """Content of a file, parsed again after the file has changed.

    The constructor raises the errors of reading and of `parse`. Later, a missing or malformed file is logged once, and
    the last valid content stays in use. `clock` returns seconds and must be monotonic.
    """

    def __init__(
        self, path: Path, parse: Callable[[str], Content], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._path = path
        self._parse = parse
        self._clock = clock
        self._version = self._version_on_disk()
        self._content = parse(path.read_text(encoding="utf-8"))
        self._checked_at = clock()

    def __call__(self) -> Content:
        now = self._clock()
        if now - self._checked_at >= RELOAD_INTERVAL_S:
            self._checked_at = now
            self._reload()
        return self._content

    def _reload(self) -> None:
        version = self._version_on_disk()
        if version == self._version:
            return
        self._version = version
        try:
            self._content = self._parse(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            _log.error(
                "changed file is invalid, last content stays in use", file=str(self._path), error=type(error).__name__
            )

    def _version_on_disk(self) -> tuple[int, ...] | None:
        try:
            stat = self._path.stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_size, stat.st_ino
