"""Tests of commands and meshes on full, small and read-only disks."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

import grpc
import pytest

from cli.main import main
from interceptors.keys.interceptor import API_KEY
from local.keys import OPERATOR
from mesh.config import child_environment
from mesh.serving.health_probe import problems_of
from solo60.gym.v1 import gym_pb2, gym_pb2_grpc
from tests.support.local_mesh import LocalMesh, wait_for
from tests.support.small_disk import fill, make_room, small_disk

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

pytestmark = pytest.mark.system


@pytest.fixture
def full_mesh(stopped_mesh: LocalMesh) -> Iterator[LocalMesh]:
    """Return a stopped mesh on a full disk."""
    with small_disk(stopped_mesh.data_dir, 1) as disk:
        fill(disk)
        yield stopped_mesh


@pytest.fixture
def read_only_mesh(stopped_mesh: LocalMesh) -> Iterator[LocalMesh]:
    """Return a stopped mesh on a read-only disk."""
    with small_disk(stopped_mesh.data_dir, 1, read_only=True):
        yield stopped_mesh


@pytest.mark.parametrize("disk", ["full_mesh", "read_only_mesh"])
def test_an_unwritable_disk_is_reported_in_one_line(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], disk: str
) -> None:
    """On a full or read-only disk, commands fail with one line that names the path and the reason."""
    mesh: LocalMesh = request.getfixturevalue(disk)
    reasons = ("full", "No space left on device") if disk == "full_mesh" else ("Read-only file system",)

    done = mesh.solo60("up")

    assert done.returncode != 0
    assert_named(mesh, done.stdout + done.stderr, reasons)
    for name, value in child_environment(**mesh.settings_by_name).items():
        monkeypatch.setenv(name, value)
    for command in ("keys issue gym", "migrate", "doctor"):
        if command == "doctor":
            monkeypatch.setenv("DATABASE_URL", "postgresql://127.0.0.1:1/none")
        monkeypatch.setattr(sys, "argv", ["solo60", *command.split()])

        with pytest.raises(SystemExit) as exit_:
            main()

        assert exit_.value.code != 0
        assert_named(mesh, "".join(capfd.readouterr()), reasons)


def assert_named(mesh: LocalMesh, output: str, reasons: Sequence[str]) -> None:
    """Assert that exactly one line names the path, that it names the reason too, and that there is no traceback."""
    lines = [line for line in output.splitlines() if str(mesh.data_dir) in line]
    assert len(lines) == 1, output
    assert any(reason in lines[0] for reason in reasons)
    assert "Traceback" not in output


def test_a_disk_too_small_for_a_database_is_rejected(stopped_mesh: LocalMesh) -> None:
    """`up` rejects a disk with too little space for a database and creates none."""
    with small_disk(stopped_mesh.data_dir, 50) as disk:
        refused = stopped_mesh.solo60("up")

        assert refused.returncode == 2
        assert refused.stderr.startswith(f"DATA_DIR: the disk of {disk} is nearly full: ")
        assert not stopped_mesh.settings.postgres_folder.exists()


@dataclass(frozen=True, slots=True)
class Disks:
    """Two disks of a mesh: `logs` for logs and spans, `data` for all other files."""

    data: Path
    logs: Path


@pytest.fixture(scope="module")
def disks_of_mesh() -> Iterator[tuple[LocalMesh, Disks]]:
    """Start a mesh on two small disks."""
    with (
        LocalMesh.in_new_folder() as mesh,
        small_disk(mesh.data_dir, 300) as data,
        small_disk(mesh.settings.log_folder, 4) as logs,
    ):
        mesh.settings_by_name["span_dir"] = logs / "spans"
        mesh.up()
        yield mesh, Disks(data, logs)
        if mesh.is_running:
            mesh.close()


def test_services_run_on_when_the_disk_of_logs_and_spans_is_full(disks_of_mesh: tuple[LocalMesh, Disks]) -> None:
    """With a full log disk, calls succeed, and `up` and `health` report the disk. Free space clears the reports."""
    mesh, disk = disks_of_mesh[0], disks_of_mesh[1].logs
    fill(disk)
    # `up` reports a disk once, and reports "nearly full" if it checks the disk during `fill`.
    mesh.wait_for_output(f"DATA_DIR: the disk of {disk} is ")

    # A file's last page has free space on a full disk. The log lines of 40 calls fill that page.
    list_gyms(mesh, times=40)
    call = mesh.solo60("call", "gym.ListGyms", "--json")
    wait_for(lambda: any("its log cannot be written" in each for each in troubles_of_gym(mesh)))
    wait_for(lambda: any("traces cannot be written" in each for each in troubles_of_gym(mesh)))
    shown = mesh.solo60("health")

    assert call.returncode == 0
    assert call.stderr == f"traces cannot be written to {disk}/spans: No space left on device.\n"
    assert shown.returncode == 0
    assert f"DATA_DIR: the disk of {disk} is full." in shown.stdout.splitlines()
    assert "gym: its log cannot be written: No space left on device." in shown.stdout.splitlines()
    spans = f"gym: traces cannot be written to {disk}/spans: No space left on device."
    assert spans in shown.stdout.splitlines()

    make_room(disk)
    mesh.wait_for_output("DATA_DIR has room again.")
    answer = mesh.solo60("call", "gym.ListGyms", "--json")
    assert (answer.returncode, answer.stderr) == (0, "")
    wait_for(lambda: not any("log cannot be written" in each for each in troubles_of_gym(mesh)))
    assert "log cannot be written" not in mesh.solo60("health").stdout
    # The line that filled the disk may be torn, but the next one is complete.
    log = (disk / "gym.jsonl").read_text().splitlines()
    assert len([line for line in log if not is_json(line)]) <= 1


def list_gyms(mesh: LocalMesh, times: int) -> None:
    """Call ListGyms as the operator; raise if a call fails."""
    metadata = ((API_KEY, mesh.settings.key_path_of(OPERATOR).read_text().strip()),)
    with grpc.insecure_channel(mesh.settings.url_of("gym"), [("grpc.enable_http_proxy", 0)]) as channel:
        for _ in range(times):
            gym_pb2_grpc.GymServiceStub(channel).ListGyms(gym_pb2.ListGymsRequest(), timeout=10, metadata=metadata)


def troubles_of_gym(mesh: LocalMesh) -> Sequence[str]:
    """Return the troubles that the gym service reports."""
    return asyncio.run(problems_of(mesh.settings.url_of("gym"))).troubles


def is_json(line: str) -> bool:
    """Return whether a line is JSON."""
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def test_a_database_on_a_full_disk_recovers_with_free_space(disks_of_mesh: tuple[LocalMesh, Disks]) -> None:
    """`up`, `health` and `doctor` report a full data disk. With free space the mesh serves again and finds its data."""
    mesh, disks = disks_of_mesh
    member = json.dumps({"email": f"{uuid4()}@solo60.example", "display_name": "Kept"})
    kept = json.loads(mesh.solo60("call", "user.CreateUser", member).stdout)["user"]
    start = len(mesh.output)
    fill(disks.data)
    fill(disks.logs)
    mesh.wait_for_output(f"DATA_DIR: the disk of {disks.data} is ", start)

    shown = mesh.solo60("health").stdout
    doctor = mesh.solo60("doctor")

    assert f"DATA_DIR: the disk of {disks.data} is full." in shown.splitlines()
    assert doctor.returncode == 1
    assert f"the disk of {disks.data} is full." in doctor.stdout + doctor.stderr

    make_room(disks.logs)
    make_room(disks.data)
    mesh.wait_for_output("DATA_DIR has room again.", start)
    wait_for(mesh.is_serving)
    assert mesh.solo60("health").returncode == 0
    found = mesh.solo60("call", "user.GetUser", json.dumps({"user_id": kept["user_id"]}), "--json")
    assert json.loads(found.stdout)["user"]["display_name"] == "Kept", found.stderr


def test_a_mesh_stops_after_its_disk_was_full(disks_of_mesh: tuple[LocalMesh, Disks]) -> None:
    """Ctrl-C stops a mesh with exit code 0 after its disks were full."""
    process = disks_of_mesh[0].process

    process.send_signal(signal.SIGINT)

    assert process.wait(60) == 0
