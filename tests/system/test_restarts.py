"""Tests of a running mesh in which services or PostgreSQL die, hang or are restarted."""

from __future__ import annotations

import json
import os
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from contracts.services import SERVICE_NAMES
from mesh.serving.health_probe import UNREACHABLE
from tests.support.local_mesh import LocalMesh, all_gone, process_of, process_tree_of, wait_for
from tests.support.suspension import suspended

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.system
MAX_MEMORY_MIB = 45
SERVING = dict.fromkeys(SERVICE_NAMES, "SERVING")


@pytest.fixture(scope="module")
def module_mesh() -> Iterator[LocalMesh]:
    """Create a mesh for all tests of this module, without starting it."""
    with LocalMesh.in_new_folder() as mesh:
        yield mesh


@pytest.fixture
def mesh_with_restarts(module_mesh: LocalMesh) -> LocalMesh:
    """Return a running mesh with automatic restarts; start it if the previous test has stopped it."""
    if not module_mesh.is_running:
        module_mesh.up(drain_grace_s=0)
    wait_for(module_mesh.is_serving)
    return module_mesh


@pytest.fixture(scope="module")
def mesh_without_restarts() -> Iterator[LocalMesh]:
    """Start a mesh without automatic restarts."""
    with LocalMesh.in_new_folder() as mesh:
        mesh.up("--no-restart")
        yield mesh


def postmaster(mesh: LocalMesh) -> psutil.Process:
    """Return the main PostgreSQL process of a mesh."""
    record = mesh.settings.postgres_folder / "cluster" / "postmaster.pid"
    return psutil.Process(int(record.read_text().splitlines()[0]))


def health(mesh: LocalMesh) -> dict[str, dict[str, Any]]:
    """Return the report of `solo60 health --json`."""
    report: dict[str, dict[str, Any]] = json.loads(mesh.solo60("health", "--json").stdout)
    return report


def kill(process: psutil.Process) -> None:
    """Kill a process and wait until it is gone."""
    process.kill()
    wait_for(lambda: all_gone([process]))


def test_services_share_the_memory_of_their_code(mesh_with_restarts: LocalMesh) -> None:
    """Each service of a new mesh has at most 45 MiB of memory, counting its part of shared memory (PSS)."""
    memory = {name: process_of(mesh_with_restarts, name).memory_full_info().pss / 2**20 for name in SERVICE_NAMES}

    assert max(memory.values()) <= MAX_MEMORY_MIB, memory


def test_a_dead_service_is_reported_and_restarted(mesh_with_restarts: LocalMesh) -> None:
    """`up` restarts a killed service, and prints the service, the signal, the delay of the restart, and the log."""
    log = mesh_with_restarts.settings.log_path_of("gym")
    kill(process_of(mesh_with_restarts, "gym"))

    mesh_with_restarts.wait_for_output("gym is running again.")
    assert f"gym was killed by signal 9. It restarts in 1 s. Its log is {log}." in mesh_with_restarts.output
    wait_for(mesh_with_restarts.is_serving)
    assert {entry["status"] for entry in health(mesh_with_restarts).values()} == {"SERVING"}


def test_a_dead_embedded_database_is_reported_and_restarted(mesh_with_restarts: LocalMesh) -> None:
    """`up` reports and restarts a killed PostgreSQL. The services then serve calls again."""
    kill(postmaster(mesh_with_restarts))

    mesh_with_restarts.wait_for_output("PostgreSQL is running again.")
    assert "PostgreSQL was killed by signal 9. It restarts in 1 s. Its log is " in mesh_with_restarts.output
    wait_for(mesh_with_restarts.is_serving)
    assert mesh_with_restarts.solo60("call", "gym.ListGyms").returncode == 0


def test_a_failed_restart_of_the_database_is_repeated(mesh_with_restarts: LocalMesh) -> None:
    """`up` prints PostgreSQL's reason for a failed restart and tries again until PostgreSQL runs."""
    start = len(mesh_with_restarts.output)
    control = mesh_with_restarts.settings.postgres_folder / "cluster" / "global" / "pg_control"
    server = postmaster(mesh_with_restarts)
    content, owner = control.read_bytes(), control.stat()
    control.unlink()
    kill(server)

    mesh_with_restarts.wait_for_output("did not start: ", start)
    control.write_bytes(content)
    control.chmod(0o600)
    os.chown(control, owner.st_uid, owner.st_gid)

    mesh_with_restarts.wait_for_output("PostgreSQL is running again.", start)
    assert "pg_control" in mesh_with_restarts.output[start:].partition("did not start: ")[2].splitlines()[0]
    wait_for(mesh_with_restarts.is_serving)


def test_a_suspended_database_is_reported_with_the_command_to_resume_it(mesh_with_restarts: LocalMesh) -> None:
    """`up`, `health` and `call` report a suspended PostgreSQL with its `kill -CONT`. `doctor` reports a timeout."""
    server = postmaster(mesh_with_restarts)
    sentence = f"does not answer within 4 s. Its process {server.pid} is suspended: `kill -CONT {server.pid}`"
    with suspended(server):
        mesh_with_restarts.wait_for_output(f"PostgreSQL {sentence}")

        with ThreadPoolExecutor() as at_once:  # each command waits for the database
            commands = [("health",), ("doctor",), ("call", "gym.ListGyms")]
            shown, doctor, call = at_once.map(lambda command: mesh_with_restarts.solo60(*command), commands)

    assert sentence in shown.stdout
    assert "gym: The database does not answer within 5 s." in doctor.stdout.splitlines()
    assert call.returncode == 1
    assert "make run" not in call.stderr
    assert sentence in call.stderr
    mesh_with_restarts.wait_for_output("PostgreSQL answers again.")
    wait_for(mesh_with_restarts.is_serving)


def test_a_suspended_database_can_be_restarted(mesh_with_restarts: LocalMesh) -> None:
    """`solo60 restart postgresql` replaces a suspended PostgreSQL, and the mesh serves again."""
    server = postmaster(mesh_with_restarts)
    server.suspend()

    done = mesh_with_restarts.solo60("restart", "postgresql")

    assert (done.returncode, done.stdout) == (0, "postgresql: SERVING\n"), done.stderr
    assert not server.is_running()
    wait_for(mesh_with_restarts.is_serving)


def test_a_service_is_restarted_from_another_shell(mesh_with_restarts: LocalMesh) -> None:
    """`solo60 restart gym` replaces only the gym service's process, and the mesh serves again."""
    before = {name: process_of(mesh_with_restarts, name).pid for name in SERVICE_NAMES}

    done = mesh_with_restarts.solo60("restart", "gym", "--json")

    assert json.loads(done.stdout) == {"part": "gym", "state": "SERVING"}, done.stderr
    after = {name: process_of(mesh_with_restarts, name).pid for name in SERVICE_NAMES}
    assert {name for name in SERVICE_NAMES if before[name] != after[name]} == {"gym"}
    wait_for(mesh_with_restarts.is_serving)


def test_a_suspended_service_can_be_restarted(mesh_with_restarts: LocalMesh) -> None:
    """`solo60 restart gym` kills a suspended process, which cannot drain, and starts a new one."""
    gym = process_of(mesh_with_restarts, "gym")
    gym.suspend()

    done = mesh_with_restarts.solo60("restart", "gym")

    assert (done.returncode, done.stdout) == (0, "gym: SERVING\n"), done.stderr
    assert not gym.is_running()


@pytest.mark.requirement("J6")
def test_a_dead_service_is_not_restarted_with_no_restart(mesh_without_restarts: LocalMesh) -> None:
    """With --no-restart, `up` and `health` report a dead service and the command that starts it again.

    Meanwhile the other services serve from the same processes, and show their outboxes.
    """
    before = {name: process_of(mesh_without_restarts, name).pid for name in SERVICE_NAMES}
    booked = json.loads(mesh_without_restarts.solo60("demo", "booking", "--json").stdout)
    assert booked["steps"][0]["facts"]["status"] == "confirmed"
    kill(process_of(mesh_without_restarts, "gym"))
    sentence = f"was killed by signal 9. Its log is {mesh_without_restarts.settings.log_path_of('gym')}."
    mesh_without_restarts.wait_for_output(f"gym {sentence} `solo60 restart gym` starts it again.")

    wait_for(lambda: mesh_without_restarts.statuses() == {**SERVING, "gym": UNREACHABLE})
    entry = health(mesh_without_restarts)["gym"]
    shown = mesh_without_restarts.solo60("health")
    outboxes = mesh_without_restarts.solo60("outbox", "list", "--json")
    restarted = mesh_without_restarts.solo60("restart", "gym")

    assert (entry["reason"], entry["next"]) == (sentence, "solo60 restart gym")
    assert f"gym: {sentence} Next: `solo60 restart gym`" in shown.stdout.splitlines()
    assert outboxes.returncode == 1
    assert "gym did not answer: UNAVAILABLE: " in outboxes.stderr
    assert "session" in {each["service"] for each in json.loads(outboxes.stdout)}
    assert restarted.returncode == 0, restarted.stderr
    wait_for(mesh_without_restarts.is_serving)
    after = {name: process_of(mesh_without_restarts, name).pid for name in SERVICE_NAMES}
    assert {name for name in SERVICE_NAMES if before[name] != after[name]} == {"gym"}


def test_a_dead_database_is_reported_with_the_command_to_restart_it(mesh_without_restarts: LocalMesh) -> None:
    """`health` and `call` report the killed PostgreSQL and `solo60 restart postgresql`, not `make run`."""
    kill(postmaster(mesh_without_restarts))
    mesh_without_restarts.wait_for_output("PostgreSQL was killed by signal 9. Its log is ")
    wait_for(lambda: mesh_without_restarts.statuses()["gym"] == "NOT_SERVING")

    entry = health(mesh_without_restarts)["gym"]
    call = mesh_without_restarts.solo60("call", "gym.ListGyms")

    assert "Its database cannot be reached (Connection refused)." in entry["reason"]
    assert "PostgreSQL was killed by signal 9." in entry["reason"]
    assert entry["next"] == "solo60 restart postgresql"
    assert call.returncode == 1
    assert "make run" not in call.stderr
    assert "PostgreSQL was killed by signal 9." in call.stderr
    assert "Next: `solo60 restart postgresql`" in call.stderr
    assert mesh_without_restarts.solo60("restart", "postgresql").returncode == 0
    wait_for(mesh_without_restarts.is_serving)


def test_a_restart_without_a_mesh_or_of_an_unknown_part_fails(stopped_mesh: LocalMesh) -> None:
    """`restart` exits with 1. Its error says how to start a mesh, or lists the known parts for an unknown one."""
    stopped_mesh.data_dir.mkdir()

    nothing = stopped_mesh.solo60("restart", "gym")
    unknown = stopped_mesh.solo60("restart", "gmy")

    assert (nothing.returncode, unknown.returncode) == (1, 1)
    assert nothing.stderr == f"No mesh runs in {stopped_mesh.data_dir}: `make run` starts it.\n"
    assert unknown.stderr.startswith('There is no part "gmy". Parts: auth, user, ')


def test_ctrl_c_stops_a_mesh_with_dead_parts(mesh_with_restarts: LocalMesh) -> None:
    """Ctrl-C before the restart of a killed service and PostgreSQL ends all processes without a traceback."""
    process = mesh_with_restarts.process
    processes = process_tree_of(process)
    start = len(mesh_with_restarts.output)
    kill(process_of(mesh_with_restarts, "gym"))
    kill(postmaster(mesh_with_restarts))
    wait_for(lambda: {"gym was killed", "PostgreSQL was killed"} <= killed_parts(mesh_with_restarts.output[start:]))

    process.send_signal(signal.SIGINT)
    process.wait(60)

    assert all_gone(processes)
    assert "Traceback" not in mesh_with_restarts.output


def killed_parts(output: str) -> set[str]:
    """Return "X was killed" for each killed part in `output`."""
    return set(re.findall(r"\w+ was killed", output))
