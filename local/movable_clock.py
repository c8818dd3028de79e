"""Movable clock of a local mesh: its file in the data folder, and the running mesh that uses it."""

from __future__ import annotations

import fcntl
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from local.control import ControlError
from local.folder_lock import read_published, try_lock
from mesh.clock import SYSTEM_CLOCK, Clock, FileClock, MovableClock, read_offset, write_offset
from mesh.config import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mesh.config import Settings

CLOCK_NAME = "clock"
# Name of the published fact that a mesh has a movable clock.
CLOCK_FACT = "clock_file"


def with_movable_clock(settings: Settings) -> Settings:
    """Return settings of a mesh with a movable clock: CLOCK_FILE, by default in DATA_DIR."""
    path = settings.clock_file or settings.data_dir / CLOCK_NAME
    return settings.model_copy(update={"clock_file": path})


def ensure_clock_file(path: Path) -> None:
    """Write the file of a clock that was never moved, unless a file exists; raise SettingsError if that fails."""
    try:
        if not path.exists():
            write_offset(path, SYSTEM_CLOCK.offset)
    except OSError as error:
        raise SettingsError(f"CLOCK_FILE: {path} cannot be written: {error.strerror}.") from None


def clock_in(settings: Settings) -> Clock:
    """Return the clock that the settings of a mesh name; the file of a movable clock exists."""
    return SYSTEM_CLOCK if settings.clock_file is None else FileClock(settings.clock_file)


def is_ahead(settings: Settings) -> bool:
    """Return whether an earlier mesh in DATA_DIR has moved its clock."""
    try:
        return bool(read_offset(settings.data_dir / CLOCK_NAME))
    except (OSError, ValueError):
        return False


def clock_of_mesh(settings: Settings) -> Clock:
    """Return the clock of the mesh that runs in DATA_DIR, or the system's clock if it has none or no mesh runs."""
    return _published_clock(read_published(settings.data_dir)) or SYSTEM_CLOCK


def require_movable_clock(settings: Settings) -> FileClock:
    """Return the clock of the mesh that runs in DATA_DIR; raise ControlError if no mesh runs or it has none."""
    folder = settings.data_dir
    facts = read_published(folder)
    if facts is None:
        raise ControlError(f"No mesh runs in {folder.absolute()}: `solo60 up --clock` starts one with a movable clock.")
    clock = _published_clock(facts)
    if clock is None:
        raise ControlError(
            f"The clock of the mesh in {folder.absolute()} cannot be moved: stop it, and start it with "
            "`solo60 up --clock`."
        )
    return clock


@contextmanager
def only_mover_of(clock: FileClock) -> Iterator[MovableClock]:
    """Yield `clock` while no other process moves it; raise ControlError if one does."""
    with clock.path.with_name(clock.path.name + ".lock").open("w") as file:
        if not try_lock(file):
            raise ControlError("Another `solo60 clock advance` is moving this clock. Try again later.")
        yield clock
        fcntl.flock(file, fcntl.LOCK_UN)


def _published_clock(facts: dict[str, object] | None) -> FileClock | None:
    if facts is None or CLOCK_FACT not in facts:
        return None
    path = Path(str(facts[CLOCK_FACT]))
    try:
        return FileClock(path)
    except (OSError, ValueError):
        raise ControlError(f"{path} cannot be read, or does not contain the offset of a clock in seconds.") from None
