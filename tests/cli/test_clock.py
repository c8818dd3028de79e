from __future__ import annotations

import json
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from cli.clock import _work_of
from local.advance import Step
from local.folder_lock import lock_folder
from local.keys import default_scopes
from local.movable_clock import CLOCK_FACT, only_mover_of, require_movable_clock
from mesh.clock import FileClock, write_offset
from mesh.config import load_settings
from mesh.serving.keyring_file import KeyringFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cli.conftest import Solo60

MONTH = timedelta(days=31)


@contextmanager
def mesh_in(folder: Path, **facts: str) -> Iterator[None]:
    """Hold the lock of a data folder as a running mesh does, and publish `facts`."""
    with lock_folder(folder) as lock:
        lock.publish(**facts)
        yield


@pytest.fixture
def clock(tmp_path: Path) -> Iterator[FileClock]:
    """Return the clock of a mesh that runs in tmp_path."""
    path = tmp_path / "clock"
    write_offset(path, timedelta())
    with mesh_in(tmp_path, **{CLOCK_FACT: str(path)}):
        yield FileClock(path)


def test_the_time_of_a_mesh_is_shown(solo60: Solo60, clock: FileClock) -> None:
    """`clock show` prints the time of the mesh and how far it is ahead."""
    clock.advance(MONTH)

    shown, read = solo60("clock", "show"), solo60("clock", "show", "--json")

    facts = json.loads(read.out)
    assert facts["ahead"] == "31 days, 0:00:00"
    assert abs(datetime.fromisoformat(facts["now"]) - datetime.now(UTC) - MONTH) < timedelta(minutes=1)
    assert shown.out.splitlines()[1] == "ahead: 31 days, 0:00:00"


@pytest.mark.parametrize("verb", [("show",), ("advance", "1d")])
def test_a_command_without_a_mesh_says_how_to_start_one(solo60: Solo60, tmp_path: Path, verb: tuple[str, ...]) -> None:
    """Without a mesh, a command fails with one sentence that names `solo60 up --clock`."""
    done = solo60("clock", *verb)

    assert done.exit_code == 1
    assert done.err == f"No mesh runs in {tmp_path}: `solo60 up --clock` starts one with a movable clock.\n"


@pytest.mark.parametrize("verb", [("show",), ("advance", "1d")])
def test_the_systems_clock_cannot_be_moved(solo60: Solo60, tmp_path: Path, verb: tuple[str, ...]) -> None:
    """If the mesh has no movable clock, a command fails with one sentence that names `solo60 up --clock`."""
    write_offset(tmp_path / "clock", MONTH)  # of an earlier run
    with mesh_in(tmp_path):
        done = solo60("clock", *verb)

    assert done.exit_code == 1
    assert done.err == (
        f"The clock of the mesh in {tmp_path} cannot be moved: stop it, and start it with `solo60 up --clock`.\n"
    )


@pytest.mark.parametrize(
    ("duration", "sentence"),
    [
        ("-31d", "DURATION: -31d is negative, and a clock cannot be moved back."),
        ("31", 'DURATION: "31" is not a duration such as 100ms, 30m, 24h or 7d.'),
        ("1y", 'DURATION: "1y" is not a duration such as 100ms, 30m, 24h or 7d.'),
        ("", 'DURATION: "" is not a duration such as 100ms, 30m, 24h or 7d.'),
    ],
)
def test_an_invalid_duration_is_rejected(solo60: Solo60, clock: FileClock, duration: str, sentence: str) -> None:
    """A negative or malformed duration fails with one sentence and moves nothing."""
    done = solo60("clock", "advance", duration)

    assert (done.exit_code, done.err) == (1, f"{sentence}\n")
    assert not clock.offset


def test_one_command_moves_a_clock_at_a_time(solo60: Solo60, clock: FileClock) -> None:
    """A second advance fails while the first one moves the clock."""
    with only_mover_of(require_movable_clock(load_settings())):
        done = solo60("clock", "advance", "1d")

    assert done.exit_code == 1
    assert done.err == "Another `solo60 clock advance` is moving this clock. Try again later.\n"
    assert not clock.offset


def test_a_damaged_clock_is_reported(solo60: Solo60, clock: FileClock) -> None:
    """If the file of the clock is damaged, a command fails with one sentence that names the file."""
    clock.path.write_text("soon")

    done = solo60("clock", "show")

    assert done.exit_code == 1
    assert done.err == f"{clock.path} cannot be read, or does not contain the offset of a clock in seconds.\n"


def test_a_step_is_shown_by_its_messages_and_timers() -> None:
    """The line of a step counts its messages by method, and names its other work."""
    send = "solo60.communication.v1.CommunicationService/SendEmailAsync"

    assert _work_of(Step(datetime.now(UTC), {send: 2}, ("expired holds",))) == (
        "2 communication.SendEmailAsync, expired holds"
    )


def test_keys_expire_by_the_clock_of_the_mesh(solo60: Solo60, clock: FileClock) -> None:
    """A rotated key stays valid for its overlap by the time of the mesh, and `keys list` shows it so."""
    keyring = KeyringFile(load_settings().keyring_path)
    keyring.issue("gym", default_scopes("gym") or ())
    clock.advance(MONTH)
    solo60("keys", "rotate", "gym", "--overlap", "1w")

    def states() -> list[str]:
        return [key["state"] for key in json.loads(solo60("keys", "list", "--json").out)]

    assert states() == ["valid", "valid"]
    clock.advance(timedelta(days=8))
    assert states() == ["expired", "valid"]
