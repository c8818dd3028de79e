"""Tests of several meshes on one machine, at the same time and one after another."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import psutil
import pytest

from contracts.services import SERVICE_NAMES
from local.folder_lock import LOCK_NAME
from local.supervised_settings import METRICS_PORT_DISTANCE
from mesh.config import child_environment
from tests.support.local_mesh import LocalMesh, all_gone, process_of, process_tree_of, wait_for
from tests.support.nats import run_nats

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.system
SERVING = dict.fromkeys(SERVICE_NAMES, "SERVING")
OFFSET = 1000
# BASE + OFFSET stays below the ports of other tests.
BASE = random.SystemRandom().randrange(4_000, 7_000)


@pytest.fixture(scope="module")
def module_mesh() -> Iterator[LocalMesh]:
    """Create a mesh at BASE for all tests of this module, without starting it."""
    with LocalMesh.in_new_folder() as mesh:
        urls = {f"{name}_service_url": f"127.0.0.1:{BASE + n}" for n, name in enumerate(SERVICE_NAMES, 1)}
        mesh.settings_by_name |= {**urls, "smtp_url": f"smtp://127.0.0.1:{BASE + 25}"}
        mesh.settings = mesh.settings_with()
        yield mesh


@pytest.fixture
def first_mesh(module_mesh: LocalMesh) -> LocalMesh:
    """Return the running first mesh; start it with a drain of two seconds if the previous test has ended it."""
    if not module_mesh.is_running:
        module_mesh.up(drain_wait_s=2)
    wait_for(module_mesh.is_serving)
    return module_mesh


@pytest.mark.requirement("J1", "S5")
async def test_a_mesh_starts_stops_and_finds_its_data_again(module_mesh: LocalMesh, tmp_path: Path) -> None:
    """A mesh starts all services, runs the demo, and ends on Ctrl-C without leftover processes or lock.

    The next start finds its data, also after a failed start. A metrics port in use is reported but not fatal.
    """
    mesh = module_mesh
    with metrics_port_of_gym_taken(mesh):
        process = mesh.up("--demo")
    processes = process_tree_of(process)
    assert statuses(mesh) == SERVING
    # A scraper of that port would otherwise attribute another process's metrics to the gym service.
    (line,) = [line for line in mesh.output.splitlines() if "metrics: " in line]
    assert line.startswith(
        f"gym exposes no metrics: its port plus {METRICS_PORT_DISTANCE} is in use by process {os.getpid()} ("
    )
    assert parts_that_served(mesh) == {*SERVICE_NAMES, "postgresql", "mail_sink"}
    assert len(processes) > len(SERVICE_NAMES) + 1

    assert stop(process) == 0
    assert all_gone(processes)
    assert not (mesh.data_dir / LOCK_NAME).exists()

    async with run_nats(tmp_path / "nats", "--user", "ada", "--pass", "right") as nats:
        await asyncio.to_thread(refuse_to_start, mesh, nats.url.replace("//", "//ada:wrong@"))

    mesh.up(drain_wait_s=2)
    assert gym_names(mesh) == ["Field Street Gym"]
    demo = mesh.solo60("demo", "booking", "--json")
    assert demo.returncode == 0, demo.stderr


@contextmanager
def metrics_port_of_gym_taken(mesh: LocalMesh) -> Iterator[None]:
    """Listen on the metrics port of the gym service."""
    port = int(mesh.settings.url_of("gym").rpartition(":")[2]) + METRICS_PORT_DISTANCE
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        yield


def statuses(mesh: LocalMesh) -> dict[str, str]:
    """Return the status of each service, as `solo60 health --json` reports it."""
    report = json.loads(mesh.solo60("health", "--json").stdout)
    return {name: entry["status"] for name, entry in report.items()}


def parts_that_served(mesh: LocalMesh) -> set[str]:
    """Return the parts that `up` has reported as SERVING."""
    return set(re.findall(r"(\w+): SERVING$", mesh.output, re.MULTILINE))


def gym_names(mesh: LocalMesh) -> list[str]:
    """Return the names of all gyms."""
    answer = json.loads(mesh.solo60("call", "gym.ListGyms", "--json").stdout)
    return [gym["name"] for gym in answer["gyms"]]


def stop(process: subprocess.Popen[bytes]) -> int:
    """Send SIGINT and return the exit code."""
    process.send_signal(signal.SIGINT)
    return process.wait(60)


def refuse_to_start(mesh: LocalMesh, nats_url: str) -> None:
    """Assert that a mesh with a bad NATS_URL ends, names a failed service and its log, and leaves nothing running."""
    process = mesh.start(nats_url=nats_url)
    mesh.wait_for_output("postgresql: SERVING")
    processes = process_tree_of(process)

    assert process.wait(60) == 1
    sentence = mesh.output.splitlines()[-1]
    found = re.match(r"(\w+) did not start: NATS_URL: the server rejects this user and password", sentence)
    assert found is not None, sentence
    assert str(mesh.data_dir / "logs" / f"{found[1]}.jsonl") in sentence
    assert all_gone(processes)
    assert not (mesh.data_dir / LOCK_NAME).exists()


@pytest.fixture(scope="module")
def second_mesh(module_mesh: LocalMesh) -> Iterator[LocalMesh]:
    """Start a second mesh with the first one's settings except DATA_DIR and PORT_OFFSET."""
    with LocalMesh.in_new_folder() as mesh:
        mesh.settings_by_name |= {
            **module_mesh.settings_by_name, "data_dir": mesh.data_dir, "port_offset": OFFSET,
        }  # fmt: skip
        mesh.up()
        yield mesh


def test_port_offset_separates_two_meshes(first_mesh: LocalMesh, second_mesh: LocalMesh) -> None:
    """PORT_OFFSET moves the ports of services, metrics and inbox. Both meshes run the demo, each with its own mails."""
    mails = len(mails_of(first_mesh))

    demos = [mesh.solo60("demo", "booking", "--json") for mesh in (first_mesh, second_mesh)]
    assert [demo.returncode for demo in demos] == [0, 0], demos
    assert (len(mails_of(first_mesh)), len(mails_of(second_mesh))) == (mails + 2, 2)
    ports = [ports_of(mesh) for mesh in (first_mesh, second_mesh)]
    assert not ports[0] & ports[1]
    assert {BASE + n + OFFSET for n in range(1, 8)} | {BASE + 25 + OFFSET} <= ports[1]
    assert "no metrics" not in first_mesh.output + second_mesh.output


def mails_of(mesh: LocalMesh) -> list[object]:
    """Return the mails that `solo60 inbox --json` shows for a mesh."""
    mails: list[object] = json.loads(mesh.solo60("inbox", "--json").stdout)
    return mails


def ports_of(mesh: LocalMesh) -> set[int]:
    """Return the listening ports of a mesh's processes."""
    ports: set[int] = set()
    for process in process_tree_of(mesh.process):
        with suppress(psutil.NoSuchProcess):  # A PostgreSQL process has ended meanwhile.
            ports |= {each.laddr.port for each in process.net_connections("tcp") if each.status == psutil.CONN_LISTEN}
    return ports


def test_a_second_mesh_in_the_same_folder_is_rejected(first_mesh: LocalMesh) -> None:
    """`up` in the data folder of a running mesh exits with 2 and one line that names DATA_DIR and the process."""
    second = first_mesh.solo60("up")

    assert second.returncode == 2
    assert second.stderr.startswith("DATA_DIR: process ")
    assert second.stderr.count("\n") == 1
    wait_for(first_mesh.is_serving)


def test_a_reset_of_a_running_mesh_is_rejected(first_mesh: LocalMesh) -> None:
    """`make reset` does not erase the data folder of a running mesh and names the process."""
    done = reset(first_mesh)

    assert done.returncode == 1
    assert done.stderr.startswith("DATA_DIR: process ")
    assert (first_mesh.data_dir / "keys").is_dir()


def reset(mesh: LocalMesh) -> subprocess.CompletedProcess[str]:
    """Run the program behind `make reset`."""
    command = [sys.executable, "-m", "local.reset"]
    environment = child_environment(**mesh.settings_by_name)
    return subprocess.run(command, check=False, env=environment, capture_output=True, text=True)


@pytest.mark.requirement("J6")
def test_a_hanging_orphan_is_named(second_mesh: LocalMesh) -> None:
    """If a service of a killed mesh is suspended, `up` exits with 2 and prints the `kill -9` for its process."""
    auth = process_of(second_mesh, "auth")
    auth.suspend()
    orphans = killed(second_mesh)
    wait_for(lambda: all_gone([orphan for orphan in orphans if orphan != auth]))

    refused = second_mesh.solo60("up", drain_grace_s=0)
    auth.send_signal(signal.SIGKILL)

    assert refused.returncode == 2
    assert refused.stderr.startswith("DATA_DIR: services of a killed mesh still run in ")
    assert f"`kill -9 {auth.pid}` ends them" in refused.stderr
    # Without the orphan, a reset succeeds.
    assert reset(second_mesh).returncode == 0


def killed(mesh: LocalMesh) -> list[psutil.Process]:
    """Kill the supervisor of a mesh and return its orphaned processes."""
    orphans = process_tree_of(mesh.process)[1:]
    mesh.process.kill()
    mesh.process.wait()
    return orphans


@pytest.mark.requirement("J6")
def test_a_start_right_after_a_kill_waits_for_the_orphans(first_mesh: LocalMesh) -> None:
    """`up` right after a kill waits until the old services have ended, then serves the old data."""
    slow = process_of(first_mesh, "auth")
    slow.suspend()
    orphans = killed(first_mesh)

    first_mesh.start(drain_wait_s=1)
    first_mesh.wait_for_output("mesh: waiting for the services of a killed mesh")
    assert not all_gone(orphans)
    slow.resume()
    first_mesh.wait_until_up()

    assert all_gone(orphans)
    wait_for(first_mesh.is_serving)
    assert gym_names(first_mesh) == ["Field Street Gym"]


def test_a_reset_right_after_a_kill_waits_for_the_orphans(first_mesh: LocalMesh) -> None:
    """`make reset` right after a kill waits until all orphans have ended, then empties the data folder."""
    orphans = killed(first_mesh)

    done = reset(first_mesh)

    assert (done.returncode, done.stderr) == (0, "")
    assert all_gone(orphans)
    assert list(first_mesh.data_dir.iterdir()) == []
