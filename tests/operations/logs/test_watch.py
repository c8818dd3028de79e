from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from operations.logs.watch import LogWatch, UndeclaredCall

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 11, 29, 8, 0, tzinfo=UTC)
CALL = UndeclaredCall("gym", "solo60.gym.v1.GymService/GetGym", "solo60.user.v1.UserService/GetUser")


def _write(path: Path, time: datetime = NOW, **facts: str) -> None:
    line = {"service": path.stem, "timestamp": time.isoformat(), **facts}
    with path.open("a") as file:
        file.write(json.dumps(line, separators=(",", ":")) + "\n")


def _write_call(path: Path, time: datetime = NOW) -> None:
    _write(path, time, event="undeclared call", level="warning", method=CALL.method, callee=CALL.callee)


def test_undeclared_calls_are_found_once_and_for_an_hour(tmp_path: Path) -> None:
    """An undeclared call is one finding however often it is logged, until an hour after its last line."""
    watch = LogWatch(tmp_path)
    _write_call(tmp_path / "gym.jsonl")
    _write_call(tmp_path / "gym.jsonl", NOW + timedelta(minutes=1))

    assert watch.read(NOW).undeclared == (CALL,)
    assert watch.read(NOW + timedelta(minutes=60)).undeclared == (CALL,)
    assert watch.read(NOW + timedelta(minutes=62)).undeclared == ()
    watch.close()


def test_the_latest_error_of_all_logs_is_found(tmp_path: Path) -> None:
    """The last error is the latest of all services; warnings and texts that look like one are none."""
    watch = LogWatch(tmp_path)
    _write(tmp_path / "user.jsonl", NOW, level="error", event="late")
    _write(tmp_path / "auth.jsonl", NOW - timedelta(minutes=1), level="critical", event="early")
    _write(tmp_path / "gym.jsonl", NOW + timedelta(minutes=1), level="warning", event='"level":"error"')

    found = watch.read(NOW).last_error

    assert found is not None
    assert (found.service, found.facts["event"]) == ("user", "late")
    watch.close()


def test_lines_are_found_across_a_rotation(tmp_path: Path) -> None:
    """Lines before and after the replacement of a file are found, and a half line is read when it is whole."""
    watch, path = LogWatch(tmp_path), tmp_path / "gym.jsonl"
    _write(path, event="served", level="info")
    assert watch.read(NOW).last_error is None
    _write(path, event="before", level="error")
    path.rename(tmp_path / "gym.old.jsonl")
    _write_call(path)
    with path.open("a") as file:
        file.write('{"service":"gym","level":"error","event":"half",')

    found = watch.read(NOW)
    assert found.undeclared == (CALL,)
    assert found.last_error is not None
    assert found.last_error.facts["event"] == "before"
    with path.open("a") as file:
        file.write(f'"timestamp":"{(NOW + timedelta(seconds=1)).isoformat()}"}}\n')
    found = watch.read(NOW)
    assert found.last_error is not None
    assert found.last_error.facts["event"] == "half"
    watch.close()


def test_a_mesh_without_logs_has_no_findings(tmp_path: Path) -> None:
    """A folder that does not exist, as beside a deployed mesh, has no findings."""
    found = LogWatch(tmp_path / "none").read(NOW)

    assert (found.undeclared, found.last_error) == ((), None)
