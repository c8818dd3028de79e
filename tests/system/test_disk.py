"""A disk that takes nothing is named, and stops nothing that does not need it."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from tests.support.local_mesh import LocalMesh, wait_for
from tests.support.small_disk import fill, make_room, small_disk

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.system


@pytest.fixture
def full_mesh(stopped_mesh: LocalMesh) -> Iterator[LocalMesh]:
    """Give a mesh a disk on which nothing fits any more."""
    with small_disk(stopped_mesh.data_dir, 1) as disk:
        fill(disk)
        yield stopped_mesh


@pytest.fixture
def read_only_mesh(stopped_mesh: LocalMesh) -> Iterator[LocalMesh]:
    """Give a mesh a disk on which nothing may be written."""
    with small_disk(stopped_mesh.data_dir, 1, read_only=True):
        yield stopped_mesh


@pytest.mark.parametrize("command", ["up", "keys issue gym", "doctor", "migrate"])
@pytest.mark.parametrize("disk", ["full_mesh", "read_only_mesh"])
def test_a_disk_that_takes_nothing_is_named_in_one_line(
    request: pytest.FixtureRequest, disk: str, command: str
) -> None:
    """Whatever is asked for, it ends with the path and the reason."""
    mesh: LocalMesh = request.getfixturevalue(disk)
    if command == "doctor":
        mesh.settings_by_name["database_url"] = "postgresql://127.0.0.1:1/none"

    done = mesh.solo60(*command.split())

    lines = [line for line in (done.stdout + done.stderr).splitlines() if str(mesh.data_dir) in line]
    assert done.returncode != 0
    assert len(lines) == 1, (done.stdout, done.stderr)
    reasons = ("full", "No space left on device") if disk == "full_mesh" else ("Read-only file system",)
    assert any(reason in lines[0] for reason in reasons)
    assert "Traceback" not in done.stderr


def test_a_disk_too_small_for_a_database_is_refused_before_one_is_made(stopped_mesh: LocalMesh) -> None:
    """PostgreSQL would stop in the midst of making it."""
    with small_disk(stopped_mesh.data_dir, 50) as disk:
        refused = stopped_mesh.solo60("up")

        assert refused.returncode == 2
        assert refused.stderr.startswith(f"DATA_DIR: the disk of {disk} is nearly full: ")
        assert not stopped_mesh.settings.postgres_folder.exists()


def test_logs_and_spans_without_room_stop_no_service(stopped_mesh: LocalMesh) -> None:
    """Calls are answered, window and health name the disk; with room again, all is kept again."""
    with small_disk(stopped_mesh.settings.log_folder, 4) as disk:
        process = stopped_mesh.up(span_dir=disk / "spans")
        fill(disk)
        wait_for(lambda: f"DATA_DIR: the disk of {disk} is full." in stopped_mesh.output)

        # A file has room until the last of its pages is full: the lines of so many calls fill one.
        calls = [stopped_mesh.solo60("call", "gym.ListGyms", "--json", span_dir=disk / "spans") for _ in range(15)]
        wait_for(lambda: "gym: its log takes nothing" in stopped_mesh.solo60("health").stdout)
        shown = stopped_mesh.solo60("health")

        assert {call.returncode for call in calls} == {0}, calls
        assert {call.stderr for call in calls} == {f"traces are not kept in {disk}/spans: No space left on device.\n"}
        assert shown.returncode == 0
        assert f"DATA_DIR: the disk of {disk} is full." in shown.stdout.splitlines()
        assert "gym: its log takes nothing: No space left on device." in shown.stdout.splitlines()
        spans = f"gym: traces are not kept in {disk}/spans: No space left on device."
        assert spans in shown.stdout.splitlines()

        make_room(disk)
        wait_for(lambda: "DATA_DIR has room again." in stopped_mesh.output)
        answer = stopped_mesh.solo60("call", "gym.ListGyms", "--json", span_dir=disk / "spans")
        assert (answer.returncode, answer.stderr) == (0, "")
        wait_for(lambda: "takes nothing" not in stopped_mesh.solo60("health").stdout)
        # The line in which the disk became full is torn, and the next one is whole.
        log = (disk / "gym.jsonl").read_text().splitlines()
        assert len([line for line in log if not is_json(line)]) <= 1
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


def is_json(line: str) -> bool:
    """Whether a line is JSON."""
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def test_a_database_without_room_comes_back_when_there_is_some(stopped_mesh: LocalMesh) -> None:
    """PostgreSQL may stop for it; window, health and doctor name the disk, and what was written stays."""
    with small_disk(stopped_mesh.data_dir, 300) as disk:
        stopped_mesh.up()
        member = json.dumps({"email": f"{uuid4()}@solo60.example", "display_name": "Kept"})
        kept = json.loads(stopped_mesh.solo60("call", "user.CreateUser", member).stdout)["user"]
        fill(disk)
        wait_for(lambda: f"DATA_DIR: the disk of {disk} is full." in stopped_mesh.output)

        shown = stopped_mesh.solo60("health").stdout
        doctor = stopped_mesh.solo60("doctor")

        assert f"DATA_DIR: the disk of {disk} is full." in shown.splitlines()
        assert doctor.returncode == 1
        assert f"the disk of {disk} is full." in doctor.stdout + doctor.stderr

        make_room(disk)
        wait_for(lambda: "DATA_DIR has room again." in stopped_mesh.output)
        wait_for(lambda: stopped_mesh.solo60("health").returncode == 0)
        found = stopped_mesh.solo60("call", "user.GetUser", json.dumps({"user_id": kept["user_id"]}), "--json")
        assert json.loads(found.stdout)["user"]["display_name"] == "Kept", found.stderr
