from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from mesh.clock import SYSTEM_CLOCK, FileClock, MovableClock, open_clock, read_offset, write_offset
from mesh.config import Settings, SettingsError
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from pathlib import Path

WEEK = timedelta(days=7)
SOON = timedelta(seconds=10)


def settings_with(clock_file: Path | None) -> Settings:
    """Return settings with this CLOCK_FILE."""
    return Settings(_env_file=None, clock_file=clock_file)  # type: ignore[call-arg]  # pydantic-settings' own argument


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Write the file of a clock that was not moved yet."""
    write_offset(tmp_path / "clock", timedelta())
    return tmp_path / "clock"


def rewrite(path: Path, content: str) -> None:
    """Replace the content of a clock's file."""
    path.unlink()
    path.write_text(content)


def is_ahead(clock: MovableClock, by: timedelta) -> bool:
    """Return whether a clock is ahead of the system's clock by this duration, in both of its units."""
    ahead_s = clock.time_s() - time.time()
    return abs(clock.now() - datetime.now(UTC) - by) < SOON and abs(ahead_s - by.total_seconds()) < SOON.total_seconds()


def test_a_clock_moves_forward_only(path: Path) -> None:
    """Moves of a clock add up, and a negative duration is rejected."""
    for clock in (MovableClock(), FileClock(path)):
        clock.advance(WEEK)
        clock.advance(WEEK)

        assert is_ahead(clock, 2 * WEEK)
        with pytest.raises(ValueError, match="cannot be moved back"):
            clock.advance(timedelta(seconds=-1))
        assert is_ahead(clock, 2 * WEEK)


async def test_a_move_wakes_sleepers() -> None:
    """A sleeper on a movable clock wakes when the clock has moved past its time, and not before."""
    clock, woken = MovableClock(), asyncio.Event()
    with clock.on_move(woken.set):
        sleeping = asyncio.create_task(clock.sleep(WEEK.total_seconds()))
        await asyncio.sleep(0)

        clock.advance(WEEK - timedelta(hours=1))
        await asyncio.wait([sleeping], timeout=0)
        assert woken.is_set()
        assert not sleeping.done()

        clock.advance(timedelta(hours=1))
        await sleeping


async def test_a_sleeper_wakes_without_a_move() -> None:
    """A sleeper on a clock that nobody moves wakes after its time."""
    for clock in (SYSTEM_CLOCK, MovableClock(WEEK)):
        began = time.monotonic()
        await clock.sleep(0.02)
        assert time.monotonic() - began >= 0.02


def test_the_system_clock_has_no_offset() -> None:
    """The system's clock is never ahead."""
    assert SYSTEM_CLOCK.offset == timedelta()
    assert abs(SYSTEM_CLOCK.now() - datetime.now(UTC)) < SOON
    assert abs(SYSTEM_CLOCK.time_s() - time.time()) < SOON.total_seconds()


async def test_all_clocks_on_one_file_have_the_same_time(path: Path) -> None:
    """A move through one clock moves all clocks on its file at once, and wakes their sleepers."""
    async with open_clock(settings_with(path)) as other:
        sleeping = asyncio.create_task(other.sleep(WEEK.total_seconds()))
        await asyncio.sleep(0)

        FileClock(path).advance(WEEK)

        assert other.offset == WEEK
        await asyncio.wait_for(sleeping, SOON.total_seconds())


def test_a_new_clock_continues_with_the_time_of_its_file(path: Path) -> None:
    """A process that starts after a move has the moved time."""
    FileClock(path).advance(WEEK)

    assert is_ahead(FileClock(path), WEEK)
    assert read_offset(path) == WEEK


async def test_without_a_file_the_system_clock_is_used(tmp_path: Path) -> None:
    """Without CLOCK_FILE, a process has the system's clock, even if a clock's file is in its data folder."""
    write_offset(tmp_path / "clock", WEEK)

    async with open_clock(settings_with(None)) as clock:
        assert clock is SYSTEM_CLOCK


@pytest.mark.parametrize("content", ["", "soon", "-1", "nan", "1e300", "inf"])
async def test_an_invalid_file_prevents_the_start(path: Path, content: str) -> None:
    """A file without a positive number of seconds is reported with the name of the setting."""
    rewrite(path, content)

    with pytest.raises(SettingsError, match=r"CLOCK_FILE: .* does not contain the offset"):
        async with open_clock(settings_with(path)):
            pass


async def test_a_missing_file_prevents_the_start(tmp_path: Path) -> None:
    """A missing file is reported with the name of the setting."""
    with pytest.raises(SettingsError, match=r"CLOCK_FILE: .* cannot be read: No such file"):
        async with open_clock(settings_with(tmp_path / "clock")):
            pass


@pytest.mark.parametrize("damage", ["remove", "garble"])
def test_a_running_clock_survives_the_loss_of_its_file(path: Path, damage: str) -> None:
    """If the file disappears or becomes invalid, a running process continues with its last time."""
    clock = FileClock(path)
    clock.advance(WEEK)
    assert clock.offset == WEEK
    if damage == "remove":
        path.unlink()
    else:
        rewrite(path, "soon")

    assert is_ahead(clock, WEEK)

    write_offset(path, 2 * WEEK)
    assert is_ahead(clock, 2 * WEEK)


async def test_callbacks_end_with_their_context() -> None:
    """A callback is called after each move while its context is open."""
    clock, moves = MovableClock(), []
    with clock.on_move(lambda: moves.append(clock.offset)):
        clock.advance(WEEK)
        clock.advance(WEEK)
    clock.advance(WEEK)

    async def are_complete() -> bool:
        return moves == [WEEK, 2 * WEEK]

    await eventually(are_complete)
