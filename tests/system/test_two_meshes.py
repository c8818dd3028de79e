"""Meshes beside and after one another on the same machine."""

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

from mesh.config import SERVICE_NAMES, child_environment
from mesh.folder_lock import LOCK_NAME
from mesh.supervised_settings import METRICS_PORT_DISTANCE
from tests.support.local_mesh import LocalMesh, all_gone, family_of, process_of, wait_for
from tests.support.nats import nats_served

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.system
SERVING = dict.fromkeys(SERVICE_NAMES, "SERVING")
OFFSET = 1000
# Below the ports of other tests, so that the offset leads to none of theirs.
BASE = random.SystemRandom().randrange(4_000, 7_000)


@pytest.fixture(scope="module")
def folder_of_first_mesh() -> Iterator[LocalMesh]:
    """Make a mesh for all tests of this module."""
    with LocalMesh.in_new_folder() as mesh:
        urls = {f"{name}_service_url": f"127.0.0.1:{BASE + n}" for n, name in enumerate(SERVICE_NAMES, 1)}
        mesh.settings_by_name |= {**urls, "smtp_url": f"smtp://127.0.0.1:{BASE + 25}"}
        mesh.settings = mesh.settings_with()
        yield mesh


@pytest.fixture
def first_mesh(folder_of_first_mesh: LocalMesh) -> LocalMesh:
    """Return a mesh that runs; start it if the last test has ended it. Its services take two seconds to drain."""
    if not folder_of_first_mesh.is_running:
        folder_of_first_mesh.up(drain_wait_s=2)
    assert folder_of_first_mesh.is_serving()
    return folder_of_first_mesh


async def test_a_mesh_starts_books_stops_and_remembers(folder_of_first_mesh: LocalMesh, tmp_path: Path) -> None:
    """J1, S5: all seven are SERVING, the demo ends well twice, Ctrl-C leaves no process and no lock, data stays.

    A start that fails in between changes nothing. A metrics port that is taken is named, and holds up nothing.
    """
    mesh = folder_of_first_mesh
    with metrics_port_of_gym_taken(mesh):
        process = mesh.up("--demo")
    family = family_of(process)
    assert statuses(mesh) == SERVING
    # Whoever scrapes that port would take another's metrics for the service's.
    (told,) = [line for line in mesh.output.splitlines() if "metrics: " in line]
    assert told.startswith(
        f"gym shows no metrics: its port plus {METRICS_PORT_DISTANCE} is in use by process {os.getpid()} ("
    )
    assert parts_that_served(mesh) == {*SERVICE_NAMES, "postgresql", "inbox"}
    assert len(family) > len(SERVICE_NAMES) + 1

    assert stop(process) == 0
    assert all_gone(family)
    assert not (mesh.data_dir / LOCK_NAME).exists()

    async with nats_served(tmp_path / "nats", "--user", "ada", "--pass", "right") as nats:
        await asyncio.to_thread(refuse_to_start, mesh, nats.url.replace("//", "//ada:wrong@"))

    mesh.up(drain_wait_s=2)
    assert gym_names(mesh) == ["Field Street Gym"]
    demo = mesh.solo60("demo", "booking", "--json")
    assert demo.returncode == 0, demo.stderr


@contextmanager
def metrics_port_of_gym_taken(mesh: LocalMesh) -> Iterator[None]:
    """Listen where the metrics of the gym service would be shown."""
    port = int(mesh.settings.gym_service_url.rpartition(":")[2]) + METRICS_PORT_DISTANCE
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        yield


def statuses(mesh: LocalMesh) -> dict[str, str]:
    """Return the status of each service, as `solo60 health --json` reports it."""
    report = json.loads(mesh.solo60("health", "--json").stdout)
    return {name: entry["status"] for name, entry in report.items()}


def parts_that_served(mesh: LocalMesh) -> set[str]:
    """Return the parts that the window has reported SERVING."""
    return set(re.findall(r"(\w+): SERVING$", mesh.output, re.MULTILINE))


def gym_names(mesh: LocalMesh) -> list[str]:
    """Return the names of all gyms."""
    answer = json.loads(mesh.solo60("call", "gym.ListGyms", "--json").stdout)
    return [gym["name"] for gym in answer["gyms"]]


def stop(process: subprocess.Popen[bytes]) -> int:
    """Press Ctrl-C and return the exit code."""
    process.send_signal(signal.SIGINT)
    return process.wait(60)


def refuse_to_start(mesh: LocalMesh, nats_url: str) -> None:
    """Start a mesh whose services cannot start: one is quoted with its log; services, PostgreSQL and lock are gone."""
    process = mesh.start(nats_url=nats_url)
    wait_for(lambda: "postgresql: SERVING" in mesh.output)
    family = family_of(process)

    assert process.wait(60) == 1
    sentence = mesh.output.splitlines()[-1]
    found = re.match(r"(\w+) did not start: NATS_URL: the server refuses this user and password", sentence)
    assert found is not None, sentence
    assert str(mesh.data_dir / "logs" / f"{found[1]}.jsonl") in sentence
    assert all_gone(family)
    assert not (mesh.data_dir / LOCK_NAME).exists()


@pytest.fixture(scope="module")
def second_mesh(folder_of_first_mesh: LocalMesh) -> Iterator[LocalMesh]:
    """Start a mesh beside the first, with the same settings but for PORT_OFFSET."""
    with LocalMesh.in_new_folder() as mesh:
        mesh.settings_by_name |= {
            **folder_of_first_mesh.settings_by_name, "data_dir": mesh.data_dir, "port_offset": OFFSET,
        }  # fmt: skip
        mesh.up()
        yield mesh


def test_one_setting_puts_a_second_mesh_beside_the_first(first_mesh: LocalMesh, second_mesh: LocalMesh) -> None:
    """PORT_OFFSET moves services, metrics and inbox; each mesh keeps its own data, and serves its own callers."""
    mails = len(mails_of(first_mesh))

    demos = [mesh.solo60("demo", "booking", "--json") for mesh in (first_mesh, second_mesh)]
    assert [demo.returncode for demo in demos] == [0, 0], demos
    assert (len(mails_of(first_mesh)), len(mails_of(second_mesh))) == (mails + 2, 2)
    ports = [ports_of(mesh) for mesh in (first_mesh, second_mesh)]
    assert not ports[0] & ports[1]
    assert {BASE + n + OFFSET for n in range(1, 8)} | {BASE + 25 + OFFSET} <= ports[1]
    assert "no metrics" not in first_mesh.output + second_mesh.output


def mails_of(mesh: LocalMesh) -> list[object]:
    """Return the mails in the inbox of a mesh, as `solo60 inbox --json` shows them."""
    mails: list[object] = json.loads(mesh.solo60("inbox", "--json").stdout)
    return mails


def ports_of(mesh: LocalMesh) -> set[int]:
    """Return the ports on which the processes of a mesh listen."""
    ports: set[int] = set()
    for process in family_of(mesh.process):
        with suppress(psutil.NoSuchProcess):  # a process of PostgreSQL has ended meanwhile
            ports |= {each.laddr.port for each in process.net_connections("tcp") if each.status == psutil.CONN_LISTEN}
    return ports


def test_a_second_mesh_in_the_same_folder_is_refused(first_mesh: LocalMesh) -> None:
    """Two meshes never share a data folder; the sentence names the setting and the process."""
    second = first_mesh.solo60("up")

    assert second.returncode == 2
    assert second.stderr.startswith("DATA_DIR: process ")
    assert second.stderr.count("\n") == 1
    assert first_mesh.is_serving()


def test_a_reset_beside_a_running_mesh_is_refused(first_mesh: LocalMesh) -> None:
    """One line, and the mesh loses nothing."""
    done = reset(first_mesh)

    assert done.returncode == 1
    assert done.stderr.startswith("DATA_DIR: process ")
    assert (first_mesh.data_dir / "keys").is_dir()


def reset(mesh: LocalMesh) -> subprocess.CompletedProcess[str]:
    """Do what `make reset` does."""
    command = [sys.executable, "-m", "mesh.reset"]
    environment = child_environment(**mesh.settings_by_name)
    return subprocess.run(command, check=False, env=environment, capture_output=True, text=True)


def test_orphans_that_do_not_end_are_named(second_mesh: LocalMesh) -> None:
    """J6: one line says which process is in the way, and how to end it; all others end by themselves."""
    auth = process_of(second_mesh, "auth")
    auth.suspend()
    orphans = killed(second_mesh)
    wait_for(lambda: all_gone([orphan for orphan in orphans if orphan != auth]))

    refused = second_mesh.solo60("up", drain_grace_s=0)
    auth.send_signal(signal.SIGKILL)

    assert refused.returncode == 2
    assert refused.stderr.startswith("DATA_DIR: services of a mesh that was killed still run in ")
    assert f"`kill -9 {auth.pid}` ends them" in refused.stderr
    # Nothing is in the way any more.
    assert reset(second_mesh).returncode == 0


def killed(mesh: LocalMesh) -> list[psutil.Process]:
    """Kill a supervisor and return what it had started."""
    orphans = family_of(mesh.process)[1:]
    mesh.process.kill()
    mesh.process.wait()
    return orphans


def test_a_start_right_after_a_kill_waits_for_the_orphans(first_mesh: LocalMesh) -> None:
    """J6: the services of the killed mesh still drain, on the ports that the new one needs; its data is as before."""
    slow = process_of(first_mesh, "auth")
    slow.suspend()
    orphans = killed(first_mesh)

    first_mesh.start(drain_wait_s=1)
    wait_for(lambda: "mesh: waiting for the services of a mesh that was killed" in first_mesh.output)
    assert not all_gone(orphans)
    slow.resume()
    first_mesh.wait_until_up()

    assert all_gone(orphans)
    assert first_mesh.is_serving()
    assert gym_names(first_mesh) == ["Field Street Gym"]


def test_a_reset_right_after_a_kill_waits_for_the_orphans(first_mesh: LocalMesh) -> None:
    """It erases nothing under the feet of a service that still drains, and leaves nothing."""
    orphans = killed(first_mesh)

    done = reset(first_mesh)

    assert (done.returncode, done.stderr) == (0, "")
    assert all_gone(orphans)
    assert list(first_mesh.data_dir.iterdir()) == []
