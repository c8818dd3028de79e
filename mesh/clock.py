"""Clock of a process: the source of business time, which a mesh on one machine can move forward.

Business time decides what is due: outbox messages and their retries, reminders, expiries, renewals, leases, retention,
the tolerance of webhooks, and the validity of keys and tokens. Technical time always passes in real seconds: deadlines
of calls, timeouts, pauses of unreachable receivers, rate limits, breakers, load shedding, metrics, log lines and spans.

SQL compares stored times with the clock of the database server plus `Clock.offset`, because the clocks of hosts differ.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import structlog

from mesh.config import SettingsError
from mesh.periodic import repeating

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from mesh.config import Settings

# Longest delay, in real seconds, until the sleepers of a process notice that the clock was moved.
WATCH_INTERVAL_S = 0.05

_log = structlog.stdlib.get_logger("solo60.clock")


class Clock:
    """The clock of the system, which nothing can move."""

    @property
    def offset(self) -> timedelta:
        """Time by which this clock is ahead of the system's clock, for SQL: `now() + $1::interval`."""
        return timedelta()

    def now(self) -> datetime:
        """Return the current time in UTC."""
        return datetime.now(UTC)

    def time_s(self) -> float:
        """Return the current time in seconds since 1970."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds` of this clock's time."""
        await asyncio.sleep(seconds)

    @contextmanager
    def on_move(self, callback: Callable[[], None]) -> Iterator[None]:  # noqa: ARG002 - the clock is never moved
        """Call `callback` after each move of the clock while the context is open."""
        yield


SYSTEM_CLOCK = Clock()


class MovableClock(Clock):
    """A clock that runs ahead of the system's clock by an offset, for tests in one process."""

    def __init__(self, offset: timedelta = timedelta()) -> None:
        self._offset = offset
        self._callbacks: list[Callable[[], None]] = []

    @property
    def offset(self) -> timedelta:
        return self._offset

    def now(self) -> datetime:
        return datetime.now(UTC) + self.offset

    def time_s(self) -> float:
        return time.time() + self.offset.total_seconds()

    def advance(self, by: timedelta) -> None:
        """Move the clock forward and wake its sleepers; raise ValueError for a negative duration."""
        if by < timedelta():
            raise ValueError("A clock cannot be moved back.")
        self._move_to(self.offset + by)
        self._call_back()

    async def sleep(self, seconds: float) -> None:
        end, moved = self.now() + timedelta(seconds=seconds), asyncio.Event()
        with self.on_move(moved.set):
            while (left_s := (end - self.now()).total_seconds()) > 0:
                moved.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(left_s):
                        await moved.wait()

    @contextmanager
    def on_move(self, callback: Callable[[], None]) -> Iterator[None]:
        self._callbacks.append(callback)
        try:
            yield
        finally:
            self._callbacks.remove(callback)

    def _move_to(self, offset: timedelta) -> None:
        self._offset = offset

    def _call_back(self) -> None:
        for callback in list(self._callbacks):
            callback()


class FileClock(MovableClock):
    """A movable clock with its offset in a file, which all processes of a mesh share and move together.

    Each look at the clock checks whether the file was replaced, so that all processes have the same time. The
    constructor raises OSError or ValueError if the file is missing or invalid. Later, the last valid offset remains.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(read_offset(path))
        self.path = path
        self._version = _version_of(path)

    @property
    def offset(self) -> timedelta:
        try:
            version = _version_of(self.path)
            if version != self._version:
                self._offset = read_offset(self.path)
                self._version = version
        except (OSError, ValueError) as error:
            _log.error("the clock cannot be read, its offset remains", file=str(self.path), error=type(error).__name__)
        return self._offset

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Notice moves by other processes while the context is open, and wake the sleepers of this one."""
        seen = self.offset

        async def look() -> None:
            nonlocal seen
            if self.offset != seen:
                seen = self._offset
                self._call_back()

        async with repeating("watching the clock", look, WATCH_INTERVAL_S):
            yield

    def _move_to(self, offset: timedelta) -> None:
        write_offset(self.path, offset)


@asynccontextmanager
async def open_clock(settings: Settings) -> AsyncIterator[Clock]:
    """Yield the clock in CLOCK_FILE, or the system's clock without one; raise SettingsError for an invalid file."""
    path = settings.clock_file
    if path is None:
        yield SYSTEM_CLOCK
        return
    try:
        clock = FileClock(path)
    except OSError as error:
        raise SettingsError(f"CLOCK_FILE: {path} cannot be read: {error.strerror}.") from None
    except ValueError:
        raise SettingsError(f"CLOCK_FILE: {path} does not contain the offset of a clock in seconds.") from None
    async with clock.watching():
        yield clock


def read_offset(path: Path) -> timedelta:
    """Return the offset in a clock's file; raise OSError or ValueError if the file is missing or invalid."""
    seconds = float(path.read_text(encoding="utf-8"))
    try:
        offset = timedelta(seconds=seconds)
    except OverflowError:
        raise ValueError("The offset is too large.") from None
    if offset < timedelta():
        raise ValueError("A clock cannot be behind the system's clock.")
    return offset


def write_offset(path: Path, offset: timedelta) -> None:
    """Replace a clock's file atomically; one process at a time may do so."""
    written = path.with_name(path.name + ".new")
    written.write_text(f"{offset.total_seconds():.6f}\n", encoding="utf-8")
    written.replace(path)


def _version_of(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_ino
