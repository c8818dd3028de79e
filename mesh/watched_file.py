"""Watched files: the content of a file as it is now, without reading it at every use."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Generic, TypeVar

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# A change is seen at the latest this long after it was made.
RELOAD_INTERVAL_S = 0.25
Content = TypeVar("Content")

_log = structlog.stdlib.get_logger("solo60.files")


class WatchedFile(Generic[Content]):
    """The content of a file, parsed again when the file has changed.

    Raises what reading and `parse` raise when it is made. Later on, a file that is gone or malformed is logged once,
    and the last good content stays. `clock` gives seconds and never goes back.
    """

    def __init__(
        self, path: Path, parse: Callable[[str], Content], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._path = path
        self._parse = parse
        self._clock = clock
        self._version = self._version_on_disk()
        self._content = parse(path.read_text(encoding="utf-8"))
        self._looked_at = clock()

    def __call__(self) -> Content:
        now = self._clock()
        if now - self._looked_at >= RELOAD_INTERVAL_S:
            self._looked_at = now
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
                "a changed file is unusable, its last content stays", file=str(self._path), error=type(error).__name__
            )

    def _version_on_disk(self) -> tuple[int, ...] | None:
        try:
            stat = self._path.stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_size, stat.st_ino
